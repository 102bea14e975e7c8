"""One round: its steps, what it chose and why, its labels, gates, cost and settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from mir_ops.catalog import GateReport, RoundStep
from mir_ops.console.labels.views import LabelTaskView, task_view
from mir_ops.console.rounds.charts import machine_seconds, yields
from mir_ops.console.rounds.views import FoundRound, RoundView
from mir_ops.console.runs import Runs
from mir_ops.console.sources import Sources
from mir_ops.errors import NotFoundError
from mir_ops.rounds.comparing import flat
from mir_ops.rounds.ledger import STEPS
from mir_ops.rounds.record import chosen_images
from mir_ops.workspace import Workspace

ON_A_PAGE: Final = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView:
    """One step; `commit` and `model` are what it made."""

    name: str
    state: str
    percent: float | None
    message: str | None
    seconds: float | None
    commit: str | None
    model: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundDetail:
    """Everything about a round but the images that it chose."""

    round: RoundView
    steps: tuple[StepView, ...]
    tasks: tuple[LabelTaskView, ...]
    gates: tuple[GateReport, ...]  # the newest of each stage
    conf: Mapping[str, Any]  # what its run said
    spec: Mapping[str, Any]  # the project as it took it
    next: Mapping[str, Any] | None  # the parameters that it left to the next


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenPage:
    """Some of the chosen images, by rank; `version` is the one that has them."""

    version: str
    images: tuple[Mapping[str, Any], ...]
    total: int
    number: int
    pages: int


def round_detail(sources: Sources, found: FoundRound) -> RoundDetail:
    """From the catalog alone."""
    catalog, round_id = sources.workspace.catalog, found.line.id
    whole = catalog.rounds.get(round_id)
    steps = catalog.steps.list(round_id)
    closing = next((step.result for step in steps if step.step == "close_round"), None)
    return RoundDetail(
        round=found.view,
        steps=tuple(_step(step) for step in steps),
        tasks=tuple(task_view(found, task) for task in found.line.tasks),
        gates=tuple({gate.stage: gate for gate in catalog.gates.list(round_id)}.values()),
        conf=dict(whole.conf),
        spec=whole.spec.to_mapping(),
        next=(closing or {}).get("next"),
    )


def round_page(sources: Sources, found: FoundRound, number: int) -> dict[str, Any]:
    """What the page of a round is given."""
    detail = round_detail(sources, found)
    return {
        "project": found.project,
        "key": found.project.key,
        "detail": detail,
        "turn": found.view,
        "settings": flat(detail.spec),
        "machine_seconds": machine_seconds(found.view.cost),
        "yields": yields([found.view]),
        "chosen": chosen_page(sources, found, number),
    }


def chosen_page(sources: Sources, found: FoundRound, number: int) -> ChosenPage | None:
    """The images that were chosen, a page of them; None as long as nothing is."""
    commit = found.view.mined
    if commit is None:
        return None
    images = chosen(sources, found)
    pages = max(1, -(-len(images) // ON_A_PAGE))
    number = min(number, pages)
    return ChosenPage(
        version=commit,
        images=tuple(images[(number - 1) * ON_A_PAGE : number * ON_A_PAGE]),
        total=len(images),
        number=number,
        pages=pages,
    )


def chosen(sources: Sources, found: FoundRound) -> Sequence[Mapping[str, Any]]:
    """All chosen images in the order of their rank: score, why, and what people did with them."""
    steps, round_id = sources.workspace.catalog.steps, found.line.id
    mined, labelled = steps.find(round_id, "mine"), steps.find(round_id, "import_labels")
    left = dict((mined.result if mined else None) or {})
    answers = (labelled.result if labelled else None) or {}
    if not left.get("commit"):
        return ()
    try:
        return _chosen(
            sources.workspace, left["commit"], left.get("scores", ""), answers.get("answers")
        )
    except NotFoundError:  # the version was collected
        return ()


@lru_cache(maxsize=8)
def _chosen(
    ws: Workspace, commit: str, scores: str, answers: str | None
) -> tuple[Mapping[str, Any], ...]:
    left: dict[str, dict[str, Any]] = {
        "mine": {"commit": commit, "scores": scores},
        "import_labels": {"answers": answers},
    }
    return tuple(chosen_images(ws, left)) if scores else ()


def task_addresses(runs: Runs | None, turn: RoundView) -> Callable[[str], str | None]:
    """Where Airflow shows the task of a step."""

    def address(step: str) -> str | None:
        if runs is None or step not in STEPS:
            return None
        return runs.task_address(turn.dag_id, turn.run_id, step)

    return address


def _step(step: RoundStep) -> StepView:
    result = step.result or {}
    ended = step.finished_at
    commit, model = result.get("commit"), result.get("model_id")
    return StepView(
        name=step.step,
        state=step.state,
        percent=step.percent,
        message=step.message or result.get("reason"),
        seconds=(ended - step.started_at).total_seconds() if ended else None,
        commit=commit if isinstance(commit, str) else None,
        model=model if isinstance(model, str) else None,
    )
