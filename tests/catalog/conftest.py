"""Every test of the catalog runs on SQLite and on a real PostgreSQL of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text

from mir_ops.catalog import Catalog, ProjectSpec, read_project


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


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A throw-away server on a socket in a folder of its own: no port, no password."""
    pytest.importorskip("psycopg2")
    binaries = _find_binaries()
    if binaries is None or (os.geteuid() == 0 and not _has_user()):
        pytest.skip("PostgreSQL's server is not installed here (initdb not found)")
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


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def catalog_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database that has nothing in it."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'catalog.db'}"
    server: str = request.getfixturevalue("postgres_server")
    name = f"catalog_{uuid4().hex}"
    engine = create_engine(server.format(name="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return server.format(name=name)


@pytest.fixture
def catalog(catalog_url: str) -> Iterator[Catalog]:
    opened = Catalog.open(catalog_url)
    yield opened
    opened.close()


@pytest.fixture
def spec() -> ProjectSpec:
    return read_project(
        {
            "name": "digits",
            "classes": ["one", "two"],
            "sources": {"training": "/d/t.zip", "validation": "/d/v.zip", "pool": "/d/p.zip"},
            "executor": {"name": "sample"},
        }
    )
