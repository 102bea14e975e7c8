"""A throw-away PostgreSQL on a socket in a folder of its own: no port, no password."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text


def is_missing() -> bool:
    """Whether the server is not installed, or nobody is there to run it as."""
    return _find_binaries() is None or (os.geteuid() == 0 and not _has_user())


@contextmanager
def running() -> Iterator[str]:
    """The address of its databases: a template of one `name`."""
    binaries = _find_binaries()
    assert binaries is not None
    home = Path(tempfile.mkdtemp(prefix="mir-pg-", dir="/tmp"))  # short: sockets have 107 bytes
    data = home / "data"
    if os.geteuid() == 0:
        shutil.chown(home, "postgres")

    def run(name: str, *arguments: str) -> None:
        command = _command(binaries, name, *arguments)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=home)

    run("initdb", "-D", str(data), "-A", "trust", "-U", "mir", "--no-sync")
    options = f"-c listen_addresses= -k {home} -F"
    run("pg_ctl", "-D", str(data), "-w", "-l", str(home / "log"), "-o", options, "start")
    try:
        yield f"postgresql+psycopg2://mir@/{{name}}?host={home}"
    finally:
        run("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(home, ignore_errors=True)


def create_database(server: str, name: str) -> str:
    """The address of a new database."""
    engine = create_engine(server.format(name="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server.format(name=name)


def _find_binaries() -> Path | None:
    if on_path := shutil.which("initdb"):
        return Path(on_path).parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def _command(binaries: Path, name: str, *arguments: str) -> list[str]:
    """PostgreSQL refuses to run as root: then it runs as its own user."""
    command = [str(binaries / name), *arguments]
    return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else command


def _has_user() -> bool:
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        return False
    return True
