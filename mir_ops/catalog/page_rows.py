"""Rows of the catalog as the store's pages have them: read as what came from outside."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Column, Double, Float, Table

from mir_ops.catalog.connections import HEAD
from mir_ops.catalog.pages import FORMAT, PARTS, REGISTERED, REGISTRY, ROUNDS, Row, table_of
from mir_ops.catalog.tables import UtcTime
from mir_ops.errors import InvalidInputError, StoreError
from mir_ops.store import Store, keys
from mir_ops.store.pages import read_pages

OWNER: Final = "project"  # of a row that no round owns: the key of its project


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundPage:
    """One round: its rows by the names of `PARTS`, the round and its project alone."""

    key: str
    project: Row
    round: Row
    parts: Mapping[str, list[Row]]

    @property
    def newest(self) -> datetime:
        """The latest time that any of its rows tells: of two pages of a round the later one's."""
        rows = [self.round, *itertools.chain.from_iterable(self.parts.values())]
        return max(value for row in rows for value in row.values() if isinstance(value, datetime))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """All that a store keeps of catalogs; registries by the names of `REGISTERED`."""

    rounds: list[RoundPage]
    registries: list[dict[str, list[Row]]]


def load_pages(store: Store, deployment: str | None = None) -> Pages:
    """Read and check every page, of one deployment or of all."""
    rounds, registries = [], []
    for names, body in read_pages(store.objects).items():
        if deployment not in (None, names[0]):
            continue
        key = keys.page(*names)
        if len(names) == 4 and names[1] == ROUNDS:
            rounds.append(_round_page(key, body))
        elif names[1:] == (REGISTRY,):
            page = _decoded(key, body)
            found = {
                part: _rows(key, kind, page.get(part, [])) for part, (kind, _) in REGISTERED.items()
            }
            registries.append(_with_owners(found))
        else:
            raise _bad(key, "nothing of this name is known")
    return Pages(rounds=rounds, registries=registries)


def pages_of(rows: Mapping[str, list[Row]], key: str) -> Pages:
    """The same rows, by table, as a store's pages would have them."""
    named = {part: table_of(kind).name for part, kind in PARTS.items()}
    projects = {row["id"]: row for row in rows[named["project"]]}
    rounds = []
    for row in rows[named["round"]]:
        parts = {
            part: [each for each in rows[table] if each["round_id"] == row["id"]]
            for part, table in named.items()
            if part not in ("project", "round")
        }
        owner = projects[row["project_id"]]
        rounds.append(RoundPage(key=key, project=owner, round=row, parts=parts))
    registry = {
        part: [dict(row) for row in rows[table_of(kind).name] if row.get("round_id") is None]
        for part, (kind, _) in REGISTERED.items()
    }
    return Pages(rounds=rounds, registries=[_with_owners(registry)])


def _with_owners(found: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """Rows that name a project by its number get its key: numbers are those of one catalog."""
    keys_of = {row["id"]: row["key"] for row in found["projects"]}
    for row in found["asked"]:
        row[OWNER] = keys_of.get(row.get("project_id"))
    return found


def _round_page(key: str, body: bytes) -> RoundPage:
    page = _decoded(key, body)
    parts = {
        part: _rows(key, kind, page.get(part))
        for part, kind in PARTS.items()
        if part not in ("project", "round")
    }
    return RoundPage(
        key=key,
        project=read_row(key, table_of(PARTS["project"]), page.get("project")),
        round=read_row(key, table_of(PARTS["round"]), page.get("round")),
        parts=parts,
    )


def _decoded(key: str, body: bytes) -> dict[str, Any]:
    try:
        page = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _bad(key, f"it is not JSON: {error}") from None
    if not isinstance(page, dict) or not isinstance(page.get("revision"), str):
        raise _bad(key, "it does not say which revision of the catalog it is of")
    if page.get("format") != FORMAT or page["revision"] > HEAD:
        raise StoreError(
            f"Page `{key}` was written by a later version, of revision `{page['revision'][:20]}`",
            code="catalog-too-new",
            hint="Upgrade mir-ops",
        )
    return page


def _rows(key: str, kind: type[Any], given: object) -> list[Row]:
    if not isinstance(given, list):
        raise _bad(key, f"it has no list of `{table_of(kind).name}`")
    return [read_row(key, table_of(kind), each) for each in given]


def read_row(key: str, table: Table, given: object) -> Row:
    """Only columns that there are; what an earlier revision did not have gets its default."""
    if not isinstance(given, dict):
        raise _bad(key, f"a row of `{table.name}` is no mapping")
    row: Row = {}
    for column in table.c:
        if column.name in given:
            row[column.name] = _value(key, column, given[column.name])
        elif not column.nullable and column.server_default is None:
            raise _bad(key, f"`{column}` is missing")
    return row


def _value(key: str, column: Column[Any], value: object) -> Any:
    if value is None:
        if not column.nullable:
            raise _bad(key, f"`{column}` is null")
        return None
    if isinstance(column.type, UtcTime):
        return _time(key, column, value)
    wanted: type[Any] = column.type.python_type
    if isinstance(column.type, Float | Double):
        wanted = float
        value = float(value) if isinstance(value, int) and not isinstance(value, bool) else value
    known = (dict, list) if wanted is object else (wanted,)  # a column of JSON
    if not isinstance(value, known) or (isinstance(value, bool) and bool not in known):
        raise _bad(key, f"`{column}` is {json.dumps(value)[:80]}")
    return value


def _time(key: str, column: Column[Any], value: object) -> datetime:
    try:
        time = datetime.fromisoformat(str(value))
    except ValueError:
        raise _bad(key, f"`{column}` is no time: {str(value)[:80]}") from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _bad(key: str, reason: str) -> InvalidInputError:
    return InvalidInputError(
        f"Page `{key}` of the store cannot be used: {reason}",
        code="bad-page",
        hint="Restore it from a backup of the store, or move it away to rebuild without it",
    )
