"""A project's rounds as the console, its API and the report show them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import pyarrow.compute as pc

from mir_ops.console.messages import _
from mir_ops.errors import NotFoundError
from mir_ops.rounds.control import control_lines
from mir_ops.rounds.cost import cost_lines

if TYPE_CHECKING:
    from mir_ops.catalog import Catalog, LabelTask, Project, ProjectSpec
    from mir_ops.catalog.overviews import RoundLine
    from mir_ops.store import Store


METRICS = {"map50": "mAP50", "map50_95": "mAP50:95"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What an open round waits for, and of whom: images of a label task, or a word on its model."""

    what: Literal["labels", "approval"]
    since: datetime
    who: tuple[str, ...] = ()
    answered: int = 0
    asked: int = 0
    last_activity: datetime | None = None

    @property
    def percent(self) -> int:
        return round(100 * self.answered / self.asked) if self.asked else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundView:
    """One round. `images` and `boxes` are what its model was trained on; commits are ids.

    `step` is where it is, as long as it is open; `final_map50` is what its last model reached,
    which has seen the round's own labels.
    """

    number: int
    state: str
    strategy: str
    opened_at: datetime
    seconds: float | None = None
    images: int | None = None
    boxes: int | None = None
    map50: float | None = None
    map50_95: float | None = None
    final_map50: float | None = None
    chosen: int | None = None
    labelled: int | None = None
    reason: str | None = None  # why it failed
    decision: str | None = None  # whether another follows, and why
    model: str | None = None
    training: str | None = None
    evaluation: str | None = None
    mined: str | None = None
    labels: str | None = None
    grown: str | None = None  # the training set with the round's labels
    gates: tuple[str, ...] = ()  # stages that have a report
    dag_id: str = ""
    run_id: str = ""
    step: str | None = None
    percent: float | None = None
    message: str | None = None
    waiting: Waiting | None = None
    control: Mapping[str, Any] | None = None  # what its control arm says
    cost: Mapping[str, Any] | None = None

    @property
    def control_lines(self) -> list[str]:
        return control_lines(self.control)

    @property
    def cost_lines(self) -> list[str]:
        return cost_lines(self.cost)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectView:
    """One project and its rounds, oldest first. Addresses go by its key.

    `notes` say more about the newest evaluation, for people.
    """

    key: str
    name: str
    description: str
    classes: tuple[str, ...]
    strategy: str
    budget: int
    target: str | None
    rounds: tuple[RoundView, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def measured(self) -> list[RoundView]:
        return [turn for turn in self.rounds if turn.map50 is not None]

    @property
    def open_round(self) -> RoundView | None:
        return next((turn for turn in reversed(self.rounds) if turn.state == "open"), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRound:
    """One round of a project, with what it was read from."""

    project: Project
    line: RoundLine
    view: RoundView


def find_project(catalog: Catalog, store: Store, name: str) -> ProjectView | None:
    """The project with all its rounds, if there is one."""
    project = catalog.projects.find(name)
    if project is None:
        return None
    return project_view(catalog, store, project, catalog.overviews.rounds(project.id))


def find_round(catalog: Catalog, name: str, number: int) -> FoundRound:
    """One round of a project that lives."""
    project = catalog.projects.get(name)
    lines = catalog.overviews.rounds(project.id, number)
    if not lines:
        raise NotFoundError(
            f"Project `{project.name}` has no round {number}",
            code="no-such-round",
            hint=f"List its rounds with `mir round list --project {project.name}`",
        )
    return FoundRound(project=project, line=lines[0], view=round_view(lines[0], project.spec))


def project_view(
    catalog: Catalog, store: Store, project: Project, lines: Sequence[RoundLine]
) -> ProjectView:
    """The project with these rounds of it."""
    spec = project.spec
    rounds = tuple(round_view(line, spec, store) for line in lines)
    target = f"{METRICS[spec.stop.metric]} {spec.stop.target:g}" if spec.stop.target else None
    return ProjectView(
        key=project.key,
        name=project.name,
        description=spec.description,
        classes=spec.classes,
        strategy=spec.mining.strategy,
        budget=spec.mining.budget,
        target=target,
        rounds=rounds,
        notes=_newest_notes(catalog, lines),
    )


def round_view(line: RoundLine, spec: ProjectSpec, store: Store | None = None) -> RoundView:
    """A round for people. With a store, sizes that no step wrote down are counted there."""
    checked, closing = line.left("check_targets"), line.left("close_round")
    training = _commit(line, "merge_training")
    size = checked.get("labelled")
    if size is None and store is not None and training and "evaluate" in line.steps:
        counted = training_size(store, training)
        size = {"images": counted[0], "boxes": counted[1]} if counted else None
    now = _where(line)
    return RoundView(
        number=line.number,
        state=line.state,
        strategy=line.strategy,
        opened_at=line.opened_at,
        seconds=(line.closed_at - line.opened_at).total_seconds() if line.closed_at else None,
        images=_count((size or {}).get("images")),
        boxes=_count((size or {}).get("boxes")),
        map50=_share(line.left("evaluate").get("map50")),
        map50_95=_share(line.left("evaluate").get("map50_95")),
        final_map50=_share(line.left("evaluate_last").get("map50")),
        chosen=_count(line.left("mine").get("picked")),
        labelled=_count(line.left("import_labels").get("done")),
        reason=line.reason,
        decision=(line.left("check_end") or checked).get("reason"),
        model=line.left("train").get("model_id"),
        training=training,
        evaluation=_commit(line, "evaluate"),
        mined=_commit(line, "mine"),
        labels=_commit(line, "import_labels"),
        grown=_commit(line, "merge_labels"),
        gates=tuple(line.gates),
        dag_id=line.dag_id,
        run_id=line.run_id,
        step=now.step if now else None,
        percent=now.percent if now else None,
        message=now.message if now else None,
        waiting=_waiting(line, spec),
        control=closing.get("control"),
        cost=closing.get("cost"),
    )


def _where(line: RoundLine) -> Any:
    """The step that an open round is at: one that runs or failed, else the newest."""
    if line.state != "open" or not line.steps:
        return None
    steps = sorted(line.steps.values(), key=lambda step: (step.state != "done", step.started_at))
    return steps[-1]


def _waiting(line: RoundLine, spec: ProjectSpec) -> Waiting | None:
    if line.state != "open":
        return None
    if "create_label_task" in line.steps and line.tasks and "import_labels" not in line.steps:
        return _waiting_for(line.tasks[-1], spec)
    decided = line.steps.get("check_end") or line.steps.get("check_targets")
    if decided is None or decided.state != "done" or not (spec.promote and spec.approve_model):
        return None
    ends = decided.step == "check_end" or decided.left.get("stop")
    trained = not line.left("check_end").get("last") or bool(line.left("evaluate_last"))
    answered = "approve_model" in line.steps or "close_round" in line.steps
    if not ends or not trained or answered:
        return None
    return Waiting(what="approval", since=decided.finished_at or decided.started_at)


def _waiting_for(task: LabelTask, spec: ProjectSpec) -> Waiting:
    return Waiting(
        what="labels",
        since=task.created_at,
        who=tuple(task.by or spec.labels.annotators),
        answered=task.done + task.skipped,
        asked=task.requested,
        last_activity=task.last_activity,
    )


def _newest_notes(catalog: Catalog, lines: Sequence[RoundLine]) -> tuple[str, ...]:
    for line in reversed(lines):
        if line.left("evaluate"):
            found = catalog.steps.find(line.id, "evaluate")
            metrics = ((found.result if found else None) or {}).get("metrics", {})
            return (*_notes(metrics), *_last_notes(line))
    return ()


def _last_notes(line: RoundLine) -> Iterator[str]:
    """What the model reached that has seen the round's own labels, if there is one."""
    if (reached := _share(line.left("evaluate_last").get("map50"))) is not None:
        yield _(
            "With the labels of this round, a last model reached mAP50 %(map50).3f.", map50=reached
        )


def _notes(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Whether the model is better than the one before, what tests say, where it errs most."""
    if gain := metrics.get("gain"):
        yield _gained(gain)
    for name, tested in metrics.get("tests", {}).items():
        yield _(
            "On test set %(name)s, %(images)d images: mAP50 %(map50).3f, mAP50:95 %(map50_95).3f.",
            name=name,
            images=tested["images"],
            map50=tested["map50"],
            map50_95=tested["map50_95"],
        )
        if gain := tested.get("gain"):
            yield _("On test set %(name)s:", name=name) + " " + _gained(gain)
    if mistakes := metrics.get("mistakes"):
        kinds = sorted(mistakes["counts"], key=lambda kind: -mistakes["gains"][kind])
        worst = [
            f"{kind} ({mistakes['counts'][kind]}, {mistakes['gains'][kind]:+.3f})"
            for kind in kinds[:3]
            if mistakes["counts"][kind]
        ]
        if worst:
            yield _(
                "Mistakes at confidence %(confidence).2f, and what mending each kind would add to "
                "mAP50: %(kinds)s.",
                confidence=metrics["confidence"],
                kinds=", ".join(worst),
            )


def _gained(gain: Mapping[str, Any]) -> str:
    told = {
        "better": _("it is better"),
        "worse": _("it is worse"),
        "cannot tell": _("these images cannot tell which is better"),
    }[gain["verdict"]]
    return _(
        "Against the model of the round before, on the same %(images)d images: mAP50 "
        "%(difference)+.3f, %(level)d%% interval %(low)+.3f to %(high)+.3f: %(told)s.",
        images=gain["images"],
        difference=gain["difference"],
        level=round(100 * gain["level"]),
        low=gain["low"],
        high=gain["high"],
        told=told,
    )


def training_size(store: Store, commit_id: str) -> tuple[int, int] | None:
    """Labelled images that a model trains on, and their boxes; validation images do not count."""
    try:
        return _training_size(store, commit_id)
    except NotFoundError:
        return None


@lru_cache(maxsize=4096)
def _training_size(store: Store, commit_id: str) -> tuple[int, int]:
    version = store.read(commit_id)
    assets = version.assets(columns=["asset_id", "split"])
    trained = assets.filter(pc.equal(assets["split"], "train"))["asset_id"]
    labelled = version.layer_assets("ground_truth")
    boxes = version.layer("ground_truth", columns=["asset_id"])["asset_id"]
    return (
        pc.sum(pc.is_in(labelled, value_set=trained)).as_py() or 0,
        pc.sum(pc.is_in(boxes, value_set=trained)).as_py() or 0,
    )


def _commit(line: RoundLine, step: str) -> str | None:
    found = line.left(step).get("commit")
    return found if isinstance(found, str) else None


def _share(value: object) -> float | None:
    return float(value) if isinstance(value, float | int) and math.isfinite(value) else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) else None
