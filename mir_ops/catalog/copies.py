"""A catalog for one round to be played in again: what it could know of the rounds before it."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Select, Table, insert, select

from mir_ops.catalog.catalog import Catalog
from mir_ops.catalog.connections import reading, writing
from mir_ops.catalog.tables import (
    ExecutorRow,
    ModelRow,
    PackageRow,
    ProjectRow,
    PromotionRow,
    RoundRow,
    RoundStepRow,
)
from mir_ops.catalog.values import Round

_WHOLE: Final = (ExecutorRow, PackageRow, PromotionRow)


def copy_until(source: Catalog, target: Catalog, round_: Round) -> None:
    """Copy what the catalog said when this round opened; the round itself is open, and empty.

    What it took is what `round_` says, and rows keep their ids. Copied before, nothing is done.
    """
    with reading(target.engine) as session:
        if session.scalar(select(RoundRow.id).where(RoundRow.id == round_.id)):
            return
    with reading(source.engine) as session:
        rows = {
            table: [dict(row) for row in session.execute(query).mappings()]
            for table, query in _queries(round_).items()
        }
    (mine,) = (row for row in rows[_table(RoundRow)] if row["id"] == round_.id)
    mine |= {"state": "open", "open_project": mine["project_id"], "closed_at": None}
    mine |= {"record": None, "spec": round_.spec.to_mapping(), "conf": dict(round_.conf)}
    with writing(target.engine) as session:
        for table, found in rows.items():
            if found:
                session.execute(insert(table), found)


def _queries(round_: Round) -> dict[Table, Select[Any]]:
    """Parents before those that name them."""
    project, turns = _table(ProjectRow), _table(RoundRow)
    owner = select(turns.c.project_id).where(turns.c.id == round_.id).scalar_subquery()
    known = turns.c.project_id == owner, turns.c.number <= round_.number
    earlier = select(turns.c.id).where(*known, turns.c.id != round_.id)
    queries: dict[Table, Select[Any]] = {
        _table(kind): select(_table(kind)).order_by(_table(kind).c.id) for kind in _WHOLE
    }
    queries[project] = select(project).where(project.c.id == owner)
    queries[turns] = select(turns).where(*known).order_by(turns.c.id)
    for kind in (RoundStepRow, ModelRow):
        table = _table(kind)
        chosen = select(table).where(table.c.round_id.in_(earlier))
        queries[table] = chosen.order_by(table.c.id)
    return queries


def _table(kind: Any) -> Table:
    table: Table = kind.__table__
    return table
