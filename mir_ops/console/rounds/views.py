"""A project's rounds as the console and the report show them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc
from markupsafe import Markup

from mir_ops.console.charts import Series, line_chart
from mir_ops.errors import NotFoundError
from mir_ops.rounds.control import control_lines
from mir_ops.rounds.cost import cost_lines

if TYPE_CHECKING:
    from mir_ops.catalog import Catalog, Model, Project, Round
    from mir_ops.store import Store


_METRICS = {"map50": "mAP50", "map50_95": "mAP50:95"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundView:
    """One round. `images` and `boxes` are what its model was trained on; commits are ids."""

    number: int
    state: str
    strategy: str
    opened_at: datetime
    seconds: float | None = None
    images: int | None = None
    boxes: int | None = None
    map50: float | None = None
    map50_95: float | None = None
    chosen: int | None = None
    reason: str | None = None
    model: str | None = None
    training: str | None = None
    evaluation: str | None = None
    mined: str | None = None
    labels: str | None = None
    grown: str | None = None  # the training set with the round's labels
    gates: tuple[str, ...] = ()  # stages that have a report
    notes: tuple[str, ...] = ()  # what its evaluation says besides, for people
    control: tuple[str, ...] = ()  # what its control arm says
    cost: tuple[str, ...] = ()  # what it cost, in sentences


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectView:
    """One project and its rounds, oldest first. Addresses go by its key."""

    key: str
    name: str
    description: str
    classes: tuple[str, ...]
    strategy: str
    budget: int
    target: str | None
    rounds: tuple[RoundView, ...] = ()

    @property
    def measured(self) -> list[RoundView]:
        return [turn for turn in self.rounds if turn.map50 is not None]

    @property
    def latest(self) -> RoundView | None:
        return self.rounds[-1] if self.rounds else None


def progress_chart(rounds: Sequence[RoundView]) -> Markup:
    """mAP against labelled images: what each round's labels were worth."""
    points = [turn for turn in rounds if turn.images is not None and turn.map50 is not None]
    return line_chart(
        [
            Series(
                name="mAP50",
                points=[(turn.images or 0, turn.map50 or 0.0) for turn in points],
                notes=[
                    f"Round {turn.number}: mAP50 {turn.map50:.3f}, {turn.images} images"
                    for turn in points
                ],
            ),
            Series(
                name="mAP50:95",
                points=[
                    (turn.images or 0, turn.map50_95)
                    for turn in points
                    if turn.map50_95 is not None
                ],
            ),
        ],
        title="Accuracy against labelled images",
        x_label="labelled images in the training set",
        y_label="mAP on the validation set",
        y_top=1.0,
    )


def verdict(rounds: Sequence[RoundView]) -> str:
    """Whether it got better or worse, in one sentence that promises nothing."""
    measured = [turn for turn in rounds if turn.map50 is not None]
    if not measured:
        return "No round has been evaluated yet."
    if len(measured) == 1:
        return f"One model so far, mAP50 {measured[0].map50:.3f}: nothing to compare it with yet."
    before, after = measured[0], measured[-1]
    gain = (after.map50 or 0.0) - (before.map50 or 0.0)
    span = (
        f"from {before.map50:.3f} in round {before.number} "
        f"to {after.map50:.3f} in round {after.number}"
    )
    added = ""
    if before.images is not None and after.images is not None:
        added = f", with {after.images - before.images} more labelled images"
    word = "Better" if gain >= 0.0005 else "Worse" if gain <= -0.0005 else "No change"
    return (
        f"{word}: mAP50 went {span} ({gain:+.3f}){added}. One training per round on one seed: "
        "part of the difference is chance, and it does not say what random picks would have given."
    )


def list_projects(catalog: Catalog, store: Store) -> list[ProjectView]:
    """All projects, by name."""
    return [_project_view(catalog, store, project) for project in catalog.projects.list()]


def find_project(catalog: Catalog, store: Store, name: str) -> ProjectView | None:
    project = catalog.projects.find(name)
    return _project_view(catalog, store, project) if project else None


def _project_view(catalog: Catalog, store: Store, project: Project) -> ProjectView:
    spec = project.spec
    models = catalog.models.list(project.name)
    target = f"{_METRICS[spec.stop.metric]} {spec.stop.target:g}" if spec.stop.target else None
    return ProjectView(
        key=project.key,
        name=project.name,
        description=spec.description,
        classes=spec.classes,
        strategy=spec.mining.strategy,
        budget=spec.mining.budget,
        target=target,
        rounds=tuple(
            _round_view(catalog, store, turn, [one for one in models if one.round_id == turn.id])
            for turn in catalog.rounds.list(project.name)
        ),
    )


def _round_view(catalog: Catalog, store: Store, turn: Round, models: Sequence[Model]) -> RoundView:
    steps = catalog.steps.list(turn.id)
    left = {step.step: step.result or {} for step in steps if step.state == "done"}
    last = left.get("train_last", {}).get("op_id")
    model = next((one for one in reversed(models) if one.op_id != last), None)
    training = model.training if model else _commit(left, "merge_training")
    size = training_size(store, training) if training else None
    metrics = (model.metrics if model else None) or {}
    return RoundView(
        number=turn.number,
        state=turn.state,
        strategy=turn.spec.mining.strategy,
        opened_at=turn.opened_at,
        seconds=(turn.closed_at - turn.opened_at).total_seconds() if turn.closed_at else None,
        images=size[0] if size else None,
        boxes=size[1] if size else None,
        map50=_share(metrics.get("map50")),
        map50_95=_share(metrics.get("map50_95")),
        chosen=_count(left.get("mine", {}).get("picked")),
        reason=turn.reason,
        model=model.model_id if model else None,
        training=training,
        evaluation=model.predictions if model else None,
        mined=_commit(left, "mine"),
        labels=_commit(left, "import_labels"),
        grown=_commit(left, "merge_labels"),
        notes=(*_notes(metrics), *_last_notes(left)),
        control=tuple(control_lines(left.get("close_round", {}).get("control"))),
        cost=tuple(cost_lines(left.get("close_round", {}).get("cost"))),
        gates=tuple(dict.fromkeys(gate.stage for gate in catalog.gates.list(turn.id))),
    )


def _last_notes(left: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What the model reached that has seen the round's own labels, if there is one."""
    if (found := left.get("evaluate_last", {}).get("metrics")) is not None:
        yield f"With the labels of this round, a last model reached mAP50 {found['map50']:.3f}."


def _notes(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Whether the model is better than the one before, what tests say, where it errs most."""
    if gain := metrics.get("gain"):
        yield _gained(gain)
    for name, tested in metrics.get("tests", {}).items():
        yield (
            f"On test set {name}, {tested['images']} images: mAP50 {tested['map50']:.3f}, "
            f"mAP50:95 {tested['map50_95']:.3f}."
        )
        if gain := tested.get("gain"):
            yield f"On test set {name}: " + _gained(gain)
    if mistakes := metrics.get("mistakes"):
        kinds = sorted(mistakes["counts"], key=lambda kind: -mistakes["gains"][kind])
        worst = [
            f"{kind} ({mistakes['counts'][kind]}, {mistakes['gains'][kind]:+.3f})"
            for kind in kinds[:3]
            if mistakes["counts"][kind]
        ]
        if worst:
            yield (
                f"Mistakes at confidence {metrics['confidence']:.2f}, and what mending each kind "
                f"would add to mAP50: {', '.join(worst)}."
            )


def _gained(gain: Mapping[str, Any]) -> str:
    told = {
        "better": "it is better",
        "worse": "it is worse",
        "cannot tell": "these images cannot tell which is better",
    }[gain["verdict"]]
    return (
        f"Against the model of the round before, on the same {gain['images']} images: mAP50 "
        f"{gain['difference']:+.3f}, {gain['level']:.0%} interval {gain['low']:+.3f} to "
        f"{gain['high']:+.3f}: {told}."
    )


def training_size(store: Store, commit_id: str) -> tuple[int, int] | None:
    """Labelled images that a model trains on, and their boxes; validation images do not count."""
    try:
        return _training_size(store, commit_id)
    except NotFoundError:
        return None


@lru_cache(maxsize=256)
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


def _commit(left: Mapping[str, Mapping[str, Any]], step: str) -> str | None:
    found = left.get(step, {}).get("commit")
    return found if isinstance(found, str) else None


def _share(value: object) -> float | None:
    return float(value) if isinstance(value, float | int) and math.isfinite(value) else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) else None
