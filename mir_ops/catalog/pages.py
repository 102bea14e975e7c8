"""What the store keeps of the catalog, so that a lost database can be made again.

Of each round a page with all its rows, written whenever a step of it ends; of each deployment one
page with what belongs to no round. The catalog stays the home of all of it: nobody reads a page but
`mir catalog rebuild`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Table, inspect, select
from sqlalchemy.orm import Session

from mir_ops.catalog.catalog import Catalog
from mir_ops.catalog.connections import HEAD, reading
from mir_ops.catalog.tables import (
    ExecutorRow,
    GateReportRow,
    LabelTaskRow,
    ModelRow,
    PackageRow,
    ProjectRow,
    PromotionRow,
    RoundRow,
    RoundStepRow,
)
from mir_ops.store import Store
from mir_ops.store.pages import write_page

FORMAT: Final = 1
ROUNDS: Final = "rounds"
REGISTRY: Final = "registry"
# Tables of a round, by their names: parents before those that name them.
PARTS: Final[Mapping[str, type[Any]]] = {
    "project": ProjectRow,
    "round": RoundRow,
    "steps": RoundStepRow,
    "models": ModelRow,
    "label_tasks": LabelTaskRow,
    "gate_reports": GateReportRow,
}
# Tables that no round owns, and the column by which people know a row.
REGISTERED: Final[Mapping[str, tuple[type[Any], str]]] = {
    "projects": (ProjectRow, "key"),
    "executors": (ExecutorRow, "name"),
    "packages": (PackageRow, "model_id"),
    "promotions": (PromotionRow, "name"),
    "asked": (LabelTaskRow, "op_id"),  # by a run that labels a dataset by itself
}

Row = dict[str, Any]


def keep_round(catalog: Catalog, store: Store, round_id: int) -> bool:
    """Let the store know this round as the catalog knows it now; True: it knew it otherwise."""
    with reading(catalog.engine) as session:
        owner = session.get_one(RoundRow, round_id)
        project = session.get_one(ProjectRow, owner.project_id)
        # With the run: a new catalog that begins again at round 1 replaces no page of the old one.
        run = hashlib.sha256(f"{owner.dag_id}\n{owner.run_id}".encode()).hexdigest()[:12]
        names = (owner.deployment, ROUNDS, project.key, f"{owner.number:06}-{run}")
    return write_page(store.objects, names, lambda _: _encoded(_round_page(catalog, round_id)))


def keep_registry(catalog: Catalog, store: Store, deployment: str) -> bool:
    """The same for projects, models, promoted names and executors.

    Projects, models and names that the store knows of another catalog of this deployment stay:
    none is ever taken out of a catalog.
    """

    def make(before: bytes | None) -> bytes:
        page = _registry_page(catalog)
        known = _known(before)
        for part, (_, column) in REGISTERED.items():
            if part != "executors":
                page[part] = _joined(known.get(part), page[part], column)
        return _encoded(page)

    return write_page(store.objects, (deployment, REGISTRY), make)


def keep_all(catalog: Catalog, store: Store, deployment: str) -> int:
    """Write every page that is missing or old; how many were. Done again it writes nothing."""
    with reading(catalog.engine) as session:
        rounds = list(session.scalars(select(RoundRow.id).order_by(RoundRow.id)))
    written = sum(keep_round(catalog, store, round_id) for round_id in rounds)
    return written + keep_registry(catalog, store, deployment)


def table_of(kind: type[Any]) -> Table:
    """The table behind a class of rows."""
    table = inspect(kind).local_table
    assert isinstance(table, Table)
    return table


def _round_page(catalog: Catalog, round_id: int) -> dict[str, Any]:
    with reading(catalog.engine) as session:
        owner = session.get_one(RoundRow, round_id)
        page: dict[str, Any] = {
            "project": _plain(session.get_one(ProjectRow, owner.project_id)),
            "round": _plain(owner),
        }
        for part, kind in PARTS.items():
            if part not in page:
                query = select(kind).where(kind.round_id == round_id).order_by(kind.id)
                page[part] = [_plain(row) for row in session.scalars(query)]
    return page


def _registry_page(catalog: Catalog) -> dict[str, Any]:
    with reading(catalog.engine) as session:
        return {part: _all(session, kind) for part, (kind, _) in REGISTERED.items()}


def _all(session: Session, kind: type[Any]) -> list[Row]:
    """Of tables that rounds have rows in, those of no round."""
    query = select(kind).order_by(kind.id)
    if hasattr(kind, "round_id"):
        query = query.where(kind.round_id.is_(None))
    return [_plain(row) for row in session.scalars(query)]


def _known(before: bytes | None) -> dict[str, Any]:
    """What the page says so far. One that is damaged says nothing: it must stop no round."""
    try:
        page = json.loads(before or b"{}")
    except (ValueError, RecursionError):
        return {}
    return page if isinstance(page, dict) else {}


def _joined(known: object, mine: Sequence[Row], column: str) -> list[Row]:
    own = {row[column] for row in mine}
    rows = known if isinstance(known, list) else []
    named = (row for row in rows if isinstance(row, dict) and isinstance(row.get(column), str))
    return [*(row for row in named if row[column] not in own), *mine]


def _plain(row: Any) -> Row:
    return {column.name: _value(getattr(row, column.name)) for column in table_of(type(row)).c}


def _value(value: Any) -> Any:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value


def _encoded(page: Mapping[str, Any]) -> bytes:
    told = {"format": FORMAT, "revision": HEAD, **page}
    return json.dumps(told, sort_keys=True, ensure_ascii=False, indent=1).encode()
