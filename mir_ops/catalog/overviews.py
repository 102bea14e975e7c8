"""What pages show of many projects and rounds, in a few questions however many there are.

Whole specs and whole results of steps stay in the database: of hundreds of rounds they are
megabytes. What is taken of them is named in `_PARTS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Engine, Row, Select, case, func, select, tuple_, union

from mir_ops.catalog.connections import reading
from mir_ops.catalog.steps import copy_of
from mir_ops.catalog.tables import GateReportRow, LabelTaskRow, RoundRow, RoundStepRow
from mir_ops.catalog.values import LabelTask, RoundState, StepState

_EVALUATED: Final = ("evaluate", "evaluate_last")
_TRAINED: Final = ("train", "train_last")
_CHECKED: Final = ("check_targets", "check_end")
_COMMITTED: Final = ("merge_training", "mine", "import_labels", "merge_labels", *_EVALUATED)
# Of a step's result: which steps leave the part, and where it lies.
_PARTS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "commit": (_COMMITTED, ("commit",)),
    "model_id": (_TRAINED, ("model_id",)),
    "picked": (("mine",), ("picked",)),
    "done": (("import_labels",), ("done",)),
    "stop": (("check_targets",), ("stop",)),
    "last": (("check_end",), ("last",)),
    "reason": (_CHECKED, ("reason",)),
    "labelled": (_CHECKED, ("labelled",)),
    "map50": (_EVALUATED, ("metrics", "map50")),
    "map50_95": (_EVALUATED, ("metrics", "map50_95")),
    "tests": (_EVALUATED, ("metrics", "tests")),
    "control": (("close_round",), ("control",)),
    "cost": (("close_round",), ("cost",)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLine:
    """The current operation of one step. `left` has the parts of its result that pages show."""

    step: str
    state: StepState
    percent: float | None  # 0 to 100
    message: str | None
    started_at: datetime
    finished_at: datetime | None
    left: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundLine:
    """One round with its steps, label tasks and gates, in the order in which they began.

    `gates` are the stages that have a report.
    """

    id: int
    project_id: int
    number: int
    state: RoundState
    deployment: str
    dag_id: str
    run_id: str
    strategy: str
    reason: str | None
    record: str | None
    opened_at: datetime
    closed_at: datetime | None
    steps: Mapping[str, StepLine]
    tasks: Sequence[LabelTask] = ()
    gates: Sequence[str] = ()

    def left(self, step: str) -> Mapping[str, Any]:
        """What a finished step left; nothing where it is not done."""
        found = self.steps.get(step)
        return found.left if found is not None and found.state == "done" else {}


@dataclass(frozen=True, slots=True)
class Overviews:
    """Reads for pages; every method is one moment's picture of the catalog."""

    engine: Engine

    def newest(self) -> dict[int, list[RoundLine]]:
        """By project id: its newest round, after its newest closed one if that is another."""
        found: dict[int, list[RoundLine]] = {}
        for line in self._lines(_newest()):
            found.setdefault(line.project_id, []).append(line)
        return found

    def newest_of(self, project_id: int) -> list[RoundLine]:
        """The same of one project."""
        return self._lines(_newest(RoundRow.project_id == project_id))

    def rounds(self, project_id: int, number: int | None = None) -> list[RoundLine]:
        """All rounds of a project, oldest first, or the one of this number."""
        wanted = RoundRow.project_id == project_id
        return self._lines(wanted if number is None else wanted & (RoundRow.number == number))

    def _lines(self, wanted: ColumnElement[bool]) -> list[RoundLine]:
        chosen = select(RoundRow.id).where(wanted)
        with reading(self.engine) as session:
            rounds = session.execute(_rounds(wanted)).all()
            steps = session.execute(_steps(chosen)).all()
            tasks = session.scalars(
                select(LabelTaskRow)
                .where(LabelTaskRow.round_id.in_(chosen))
                .order_by(LabelTaskRow.id)
            ).all()
            gates = session.execute(
                select(GateReportRow.round_id, GateReportRow.stage)
                .where(GateReportRow.round_id.in_(chosen))
                .order_by(GateReportRow.created_at, GateReportRow.id)
            ).all()
            by_round = _grouped(steps)
            asked = _grouped(tasks)
            checked = _grouped(gates)
            return [
                _line(
                    row,
                    by_round.get(row.id, ()),
                    [copy_of(LabelTask, each) for each in asked.get(row.id, ())],
                    [each.stage for each in checked.get(row.id, ())],
                )
                for row in rounds
            ]


def _newest(*of: ColumnElement[bool]) -> ColumnElement[bool]:
    numbers = (
        select(RoundRow.project_id, func.max(RoundRow.number))
        .where(*of)
        .group_by(RoundRow.project_id)
    )
    newest = union(numbers, numbers.where(RoundRow.state == "closed"))
    return tuple_(RoundRow.project_id, RoundRow.number).in_(newest)


def _rounds(wanted: ColumnElement[bool]) -> Select[Any]:
    return (
        select(
            RoundRow.id,
            RoundRow.project_id,
            RoundRow.number,
            RoundRow.state,
            RoundRow.deployment,
            RoundRow.dag_id,
            RoundRow.run_id,
            RoundRow.spec[("mining", "strategy")].as_string().label("strategy"),
            RoundRow.reason,
            RoundRow.record,
            RoundRow.opened_at,
            RoundRow.closed_at,
        )
        .where(wanted)
        .order_by(RoundRow.project_id, RoundRow.number)
    )


def _steps(rounds: Select[int]) -> Select[Any]:
    parts = [
        case((RoundStepRow.step.in_(steps), RoundStepRow.result[path])).label(name)
        for name, (steps, path) in _PARTS.items()
    ]
    return (
        select(
            RoundStepRow.round_id,
            RoundStepRow.step,
            RoundStepRow.state,
            RoundStepRow.percent,
            RoundStepRow.message,
            RoundStepRow.started_at,
            RoundStepRow.finished_at,
            *parts,
        )
        .where(RoundStepRow.round_id.in_(rounds), RoundStepRow.current)
        .order_by(RoundStepRow.id)
    )


def _grouped(rows: Iterable[Any]) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for row in rows:
        found.setdefault(row.round_id, []).append(row)
    return found


def _line(
    row: Row[Any], steps: Iterable[Row[Any]], tasks: Sequence[LabelTask], gates: Sequence[str]
) -> RoundLine:
    return RoundLine(
        id=row.id,
        project_id=row.project_id,
        number=row.number,
        state=row.state,
        deployment=row.deployment,
        dag_id=row.dag_id,
        run_id=row.run_id,
        strategy=row.strategy,
        reason=row.reason,
        record=row.record,
        opened_at=row.opened_at,
        closed_at=row.closed_at,
        steps={each.step: _step(each) for each in steps},
        tasks=tasks,
        gates=tuple(dict.fromkeys(gates)),
    )


def _step(row: Row[Any]) -> StepLine:
    mapping = row._mapping
    return StepLine(
        step=row.step,
        state=row.state,
        percent=row.percent,
        message=row.message,
        started_at=row.started_at,
        finished_at=row.finished_at,
        left={name: value for name in _PARTS if (value := mapping[name]) is not None},
    )
