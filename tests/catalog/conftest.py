"""Every test of the catalog runs on SQLite and on a real PostgreSQL of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import postgres_server
import pytest

from mir_ops.catalog import Catalog, ProjectSpec, read_project


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of a PostgreSQL's databases."""
    pytest.importorskip("psycopg2")
    if postgres_server.is_missing():
        pytest.skip("PostgreSQL's server is not installed here (initdb not found)")
    with postgres_server.running() as address:
        yield address


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def catalog_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database that has nothing in it."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'catalog.db'}"
    server: str = request.getfixturevalue("server")
    return postgres_server.create_database(server, f"catalog_{uuid4().hex}")


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
