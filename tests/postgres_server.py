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
    home = Path(tempfile.mkdtemp(prefix="mir-pg-", dir="/tmp"))  # short: sockets have 107 bytes
    try:
        with running_in(home) as server:
            yield server
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def running_in(home: Path) -> Iterator[str]:
    """The same, of a server that keeps all it has in this folder."""
    if os.geteuid() == 0:
        shutil.chown(home, "postgres")
    data = str(home / "data")
    _run(home, "initdb", "-D", data, "-A", "trust", "-U", "mir", "--no-sync", "--wal-segsize=1")
    start(home)
    try:
        yield f"postgresql+psycopg2://mir@/{{name}}?host={home}"
    finally:
        _run(home, "pg_ctl", "-D", data, "-m", "immediate", "stop", check=False)


def start(home: Path) -> None:
    """Start the server of this folder; nothing happens where it runs."""
    data, log = str(home / "data"), str(home / "log")
    options = f"-c listen_addresses= -k {home} -F"
    status = _run(home, "pg_ctl", "-D", data, "status", check=False)
    if status.returncode:
        _run(home, "pg_ctl", "-D", data, "-w", "-l", log, "-o", options, "start")


def _run(
    home: Path, name: str, *arguments: str, check: bool = True
) -> subprocess.CompletedProcess[bytes]:
    binaries = _find_binaries()
    assert binaries is not None
    command = _command(binaries, name, *arguments)
    return subprocess.run(command, check=check, stdout=subprocess.DEVNULL, cwd=home)


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
