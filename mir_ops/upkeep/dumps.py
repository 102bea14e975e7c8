"""The catalog as one file of JSON lines: read in one moment, written back in one transaction."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from sqlalchemy import DateTime, MetaData, create_engine, insert, select

from mir_ops.catalog import Catalog
from mir_ops.catalog.connections import HEAD, alembic_config, writing
from mir_ops.catalog.page_rows import read_row
from mir_ops.catalog.pages import Row
from mir_ops.catalog.tables import Table
from mir_ops.errors import InvalidInputError, StoreError

Rows = dict[str, list[Row]]  # by table

_TABLES: Final = {table.name: table for table in Table.metadata.sorted_tables}


def dump_catalog(catalog: Catalog, path: Path) -> dict[str, int]:
    """Write all rows, as they are at one moment, while others go on writing; rows by table."""
    counted = dict.fromkeys(_TABLES, 0)
    engine = catalog.engine
    if engine.url.get_backend_name() == "postgresql":
        engine = engine.execution_options(isolation_level="REPEATABLE READ")
    with path.open("w", encoding="utf-8") as file, engine.connect() as connection:
        file.write(json.dumps({"revision": HEAD}) + "\n")
        for name, table in _TABLES.items():
            for row in connection.execute(select(table).order_by(table.c.id)).mappings():
                plain = {column: _plain(value) for column, value in row.items()}
                file.write(json.dumps({"table": name, "row": plain}, ensure_ascii=False) + "\n")
                counted[name] += 1
        file.flush()
        os.fsync(file.fileno())
    return counted


def read_dump(path: Path) -> Rows:
    """The rows of a dump, as the newest revision has them, checked like all that comes from
    outside."""
    lines = _lines(path)
    head = next(lines, {})
    revision = head.get("revision")
    if not isinstance(revision, str):
        raise _bad(path, 1, "it does not say its revision")
    if revision > HEAD:
        raise StoreError(
            f"`{path}` is of revision `{revision[:20]}` of the catalog, which this version does "
            "not know",
            code="catalog-too-new",
            hint="Upgrade mir-ops",
        )
    found: Rows = {}
    for number, line in enumerate(lines, start=2):
        name, row = line.get("table"), line.get("row")
        if not isinstance(name, str) or not isinstance(row, dict):
            raise _bad(path, number, "it is no row of a table")
        found.setdefault(name, []).append(row)
    if revision != HEAD:
        found = _brought_up(found, revision, path)
    if unknown := found.keys() - _TABLES.keys():
        raise _bad(path, 1, f"no table is called `{sorted(unknown)[0][:80]}`")
    where = str(path)
    return {
        name: [read_row(where, table, row) for row in found.get(name, [])]
        for name, table in _TABLES.items()
    }


def replace_rows(catalog: Catalog, rows: Mapping[str, list[Row]]) -> None:
    """Put these rows in the place of all that the catalog has, in one transaction."""
    from mir_ops.catalog.rebuilding import count_on

    with writing(catalog.engine) as session:
        for table in reversed(_TABLES.values()):
            session.execute(table.delete())
        for name, table in _TABLES.items():
            if some := rows.get(name):
                session.execute(insert(table), some)
            count_on(session, name)


def _brought_up(found: Rows, revision: str, path: Path) -> Rows:
    """Rows of an earlier revision go through the migrations since, in a database of their own."""
    from alembic import command
    from alembic.util import CommandError

    with TemporaryDirectory(prefix="mir-dump-") as folder:
        url = f"sqlite:///{folder}/catalog.db"
        engine = create_engine(url)
        try:
            with engine.begin() as connection:
                command.upgrade(alembic_config(connection), revision)
                metadata = MetaData()
                metadata.reflect(connection)
                for name, rows in found.items():
                    if name not in metadata.tables:
                        raise _bad(path, 1, f"no table is called `{name[:80]}`")
                    table = metadata.tables[name]
                    for row in rows:
                        times = {c.name for c in table.c if isinstance(c.type, DateTime)}
                        connection.execute(
                            insert(table),
                            {k: _time(v) if k in times else v for k, v in row.items()},
                        )
        except CommandError:
            raise _bad(path, 1, f"no revision is called `{revision[:20]}`") from None
        finally:
            engine.dispose()
        catalog = Catalog.open(url)
        try:
            dump_catalog(catalog, Path(folder) / "now.jsonl")
        finally:
            catalog.close()
        lines = list(_lines(Path(folder) / "now.jsonl"))[1:]
        brought: Rows = {}
        for line in lines:
            brought.setdefault(line["table"], []).append(line["row"])
        return brought


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                read = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise _bad(path, number, f"it is not JSON: {error}") from None
            if not isinstance(read, dict):
                raise _bad(path, number, "it is no mapping")
            yield read


def _plain(value: Any) -> Any:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value


def _time(value: Any) -> Any:
    return None if value is None else datetime.fromisoformat(str(value))


def _bad(path: Path, line: int, reason: str) -> InvalidInputError:
    return InvalidInputError(
        f"`{path}`, line {line}: {reason}",
        code="bad-dump",
        hint="Take another backup: this one was changed since it was made",
    )
