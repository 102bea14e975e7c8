"""A catalog made again from what the store keeps of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import func, insert, select, text
from sqlalchemy.orm import Session

from mir_ops.catalog.catalog import Catalog
from mir_ops.catalog.connections import reading, writing
from mir_ops.catalog.page_rows import OWNER, Pages, RoundPage, load_pages
from mir_ops.catalog.pages import PARTS, REGISTERED, Row, table_of
from mir_ops.errors import ConflictError
from mir_ops.store import Store

SUPERSEDED: Final = "It was open when the catalog was lost, and a later round was opened since"

# How people name a row; those of a round are told apart by the round, too.
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "mir_projects": ("key",),
    "mir_rounds": ("deployment", "dag_id", "run_id"),
    "mir_round_steps": ("step", "op_id"),
    "mir_models": ("op_id",),
    "mir_label_tasks": ("op_id",),
    "mir_gate_reports": ("stage", "op_id"),
    "mir_executors": ("name",),
    "mir_packages": ("model_id",),
    "mir_promotions": ("name",),
}
# The times by which the newer of two rows for one name is known.
_NEWER: Final = {
    "projects": "updated_at",
    "executors": "added_at",
    "packages": "created_at",
    "promotions": "promoted_at",
    "asked": "created_at",
}
_BLOBS: Final = ("record", "package", "log", "json_blob", "html_blob")
# Parents before those that name them.
_TABLES: Final[tuple[type[Any], ...]] = tuple(
    dict.fromkeys([*PARTS.values(), *(kind for kind, _ in REGISTERED.values())])
)

Content = dict[str, list[Row]]  # rows by table, parents before those that name them


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """What the store's pages make: rows by table, and everything that they do not."""

    rows: Mapping[str, int]
    written: bool  # False: the catalog has it all already, or this was only a question
    open_rounds: tuple[str, ...]
    left_out: tuple[str, ...]


class CatalogDiffersError(ConflictError):
    """The catalog is not empty, and not what the store says. `differences` tell a row each."""

    code = "catalog-differs"

    def __init__(self, message: str, differences: tuple[str, ...] = ()) -> None:
        super().__init__(
            message,
            hint="Rebuild into an empty catalog: name one in `MIR_CATALOG`, or move this one away",
        )
        self.differences = differences

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.differences)


def rebuild(
    catalog: Catalog, store: Store, *, deployment: str | None = None, dry_run: bool = False
) -> Rebuilt:
    """Fill an empty catalog from the store's pages, of one deployment or of all.

    One transaction: it is empty or whole, whenever this is killed. Done again it changes nothing.
    A catalog with other rows is left as it is, and CatalogDiffersError says where it differs.
    """
    content, left_out = content_of(load_pages(store, deployment))
    known = {table: rows for table, rows in rows_of(catalog).items() if rows}
    if known and (different := tuple(differences(content, known))):
        raise CatalogDiffersError(
            f"The catalog is not empty, and differs from the store in {len(different)} rows",
            different,
        )
    if not (dry_run or known):
        _write(catalog, content)
    return Rebuilt(
        rows={table: len(rows) for table, rows in content.items()},
        written=not (dry_run or known),
        open_rounds=tuple(
            f"round {row['number']}: run `{row['run_id']}` of `{row['dag_id']}`"
            for row in content["mir_rounds"]
            if row["state"] == "open"
        ),
        left_out=(*left_out, *missing_of(store, content)),
    )


def content_of(pages: Pages) -> tuple[Content, list[str]]:
    """All rows that these pages make, and what is left out of them."""
    registered = {
        part: _newest((page[part] for page in pages.registries), column, _NEWER[part])
        for part, (_, column) in REGISTERED.items()
    }
    rounds, left_out = _one_of_each(pages.rounds)
    owners = _newest(
        [registered["projects"], [page.project for page in rounds]], "key", "updated_at"
    )
    content: Content = {table_of(kind).name: [] for kind in _TABLES}
    ids = _Numbers()
    project_ids = {row["key"]: ids.take("mir_projects", row) for row in owners}
    content["mir_projects"] = [{**row, "id": project_ids[row["key"]]} for row in owners]
    for part, (kind, _) in REGISTERED.items():
        if part != "projects":
            name = table_of(kind).name
            content[name] += [
                _unowned(row, ids.take(name, row), project_ids) for row in registered[part]
            ]
    latest = {page.project["key"]: page.round["number"] for page in rounds}
    for page in rounds:
        owner = project_ids[page.project["key"]]
        is_latest = page.round["number"] == latest[page.project["key"]]
        round_id = ids.take("mir_rounds", page.round)
        content["mir_rounds"].append(_round(page.round, round_id, owner, is_latest=is_latest))
        for part, rows in page.parts.items():
            name = table_of(PARTS[part]).name
            for row in rows:
                row_id = ids.take(name, row)
                moved = {**row, "id": row_id, "round_id": round_id}
                content[name].append({**moved, **_owner(row, owner)})
    return content, left_out


def _round(row: Row, round_id: int, owner: int, *, is_latest: bool) -> Row:
    made = {**row, "id": round_id, "project_id": owner, "open_project": None}
    if row["state"] == "open" and not is_latest:
        return {**made, "state": "failed", "reason": SUPERSEDED}
    return {**made, "open_project": owner if row["state"] == "open" else None}


def _unowned(row: Row, row_id: int, project_ids: Mapping[str, int]) -> Row:
    made = {**row, "id": row_id}
    if OWNER in made:
        made["project_id"] = project_ids.get(made.pop(OWNER))
    return made


def _owner(row: Row, owner: int) -> Row:
    return {"project_id": owner} if row.get("project_id") is not None else {}


def _one_of_each(pages: Iterable[RoundPage]) -> tuple[list[RoundPage], list[str]]:
    """Rounds in their order; of two with one number, of two catalogs, the one opened last."""
    found: dict[tuple[str, int], RoundPage] = {}
    left_out = []
    for page in sorted(pages, key=lambda page: page.round["opened_at"]):
        name = (page.project["key"], page.round["number"])
        if (other := found.get(name)) is not None and not _is_same_run(other, page):
            left_out.append(
                f"round {name[1]} of `{name[0]}` in run `{other.round['run_id']}`: another catalog "
                f"opened a round of this number later (`{other.key}`)"
            )
        if other is None or not _is_same_run(other, page) or page.newest >= other.newest:
            found[name] = page
    return [found[name] for name in sorted(found)], left_out


def _is_same_run(one: RoundPage, other: RoundPage) -> bool:
    return all(one.round[name] == other.round[name] for name in _NAMES["mir_rounds"])


def _newest(sources: Iterable[Iterable[Row]], column: str, time: str) -> list[Row]:
    rows: dict[str, Row] = {}
    for row in itertools.chain.from_iterable(sources):
        other = rows.get(row[column])
        if other is None or row[time] > other[time]:
            rows[row[column]] = row
    return sorted(rows.values(), key=lambda row: int(row["id"]))


class _Numbers:
    """Rows keep their ids, which runs in flight know; of two catalogs one row gets another."""

    def __init__(self) -> None:
        self._taken: dict[str, set[int]] = {}

    def take(self, table: str, row: Row) -> int:
        taken = self._taken.setdefault(table, set())
        number = int(row["id"])
        if number in taken or number < 1:
            number = max(taken, default=0) + 1
        taken.add(number)
        return number


def rows_of(catalog: Catalog) -> Content:
    """All that a catalog has."""
    with reading(catalog.engine) as session:
        return {
            table_of(kind).name: [
                dict(row) for row in session.execute(select(table_of(kind))).mappings()
            ]
            for kind in _TABLES
        }


def differences(wanted: Content, known: Content) -> Iterator[str]:
    """One line for each row that only one of them has, or that says something else."""
    rounds = {row["id"]: f"round {row['number']}, " for row in [*wanted["mir_rounds"]]}
    rounds |= {row["id"]: f"round {row['number']}, " for row in known.get("mir_rounds", [])}
    for table, rows in wanted.items():
        mine = {_name(table, row): row for row in known.get(table, [])}
        theirs = {_name(table, row): row for row in rows}
        for name in sorted(mine.keys() | theirs.keys(), key=str):
            here, there = mine.get(name), theirs.get(name)
            row = here or there or {}
            said = f"{rounds.get(row.get('round_id', 0), '')}{table} {' '.join(map(str, name))}"
            if here is None or there is None:
                yield f"{said}: only in the {'store' if here is None else 'catalog'}"
            elif columns := [column for column in there if here[column] != there[column]]:
                yield f"{said}: {', '.join(columns)}"


def _name(table: str, row: Row) -> tuple[Any, ...]:
    own = tuple(row[column] for column in _NAMES[table])
    return (row["round_id"], *own) if "round_id" in row else own


def _write(catalog: Catalog, content: Content) -> None:
    with writing(catalog.engine) as session:
        for kind in _TABLES:
            table = table_of(kind)
            if session.scalar(select(func.count()).select_from(table)):
                raise CatalogDiffersError("Somebody else wrote to the catalog meanwhile")
            for rows in _alike(content[table.name]):
                session.execute(insert(table), rows)
            count_on(session, table.name)


def _alike(rows: list[Row]) -> Iterator[list[Row]]:
    """Rows with the same columns together: a page of an earlier revision has fewer."""
    sorted_rows = sorted(rows, key=lambda row: (sorted(row), row["id"]))
    for _, some in itertools.groupby(sorted_rows, key=set):
        yield list(some)


def count_on(session: Session, table: str) -> None:
    """Let the ids of new rows begin after those that were given; SQLite does by itself."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(
            text(
                f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), "
                f"COALESCE((SELECT MAX(id) FROM {table}), 1), "
                f"(SELECT COUNT(*) > 0 FROM {table}))"
            )
        )


def missing_of(store: Store, content: Content) -> Iterator[str]:
    """What these rows name that the store lacks, and what its commits tell that no row does."""
    yield from _absent_blobs(store, content)
    yield from _without_page(store, content)


def _absent_blobs(store: Store, content: Content) -> Iterator[str]:
    named = {
        str(row[column]): f"{table} {' '.join(str(part) for part in _name(table, row))}"
        for table, rows in content.items()
        for row in rows
        for column in _BLOBS
        if row.get(column)
    }
    for digest in sorted(named.keys() - store.has_blobs(sorted(named))):
        yield f"blob {digest[:12]} of {named[digest]}: it is not in the store"


def _without_page(store: Store, content: Content) -> Iterator[str]:
    """What commits tell of, and no page: it was there before pages were kept."""
    projects = {row["key"]: row["id"] for row in content["mir_projects"]}
    rounds = {(row["project_id"], str(row["number"])) for row in content["mir_rounds"]}
    found = set()
    for branch in store.branches():
        tip = branch.tip()
        if tip.project is not None:
            found.add((tip.project, ""))
            found.add((tip.project, tip.round or ""))
    for tag in store.tags():
        project, at, number = tag.partition("/training@r")
        if at and number.isdecimal():
            found |= {(project, ""), (project, number)}
    for project, number in sorted(found):
        if project not in projects and not number:
            yield f"project `{project}`: the store has its branches, and no page of it"
        elif project in projects and number and (projects[project], number) not in rounds:
            yield f"round {number} of `{project}`: the store has its commits, and no page of it"
