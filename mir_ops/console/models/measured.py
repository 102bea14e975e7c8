"""What a model was measured on, and what came out: read where a round kept it, else measured again.

What is measured belongs to commits, which never change: it is kept by their ids.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Literal

from mir_ops.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from mir_ops.catalog import Model
    from mir_ops.console.sources import Sources
    from mir_ops.evaluation import Comparison, Material
    from mir_ops.store import Commit, Store

Metric = Literal["map50", "map50_95"]

MOST_ROWS: Final = 1_000_000  # boxes and predictions that a request measures
_MOST_COMMITS: Final = 100  # of a branch of evaluations
_measuring = Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One model on one set of images. `truth` and `predictions` are commits, `report` a blob.

    `marks` is the commit whose predictions are marked, which the images are looked at in.
    """

    key: str  # stands for it in addresses
    name: str  # `validation`, a test set's, or a branch's
    round: int | None
    truth: str
    predictions: str
    marks: str
    layer: str
    split: str | None
    classes: tuple[str, ...] = ()  # none: all that occur
    iou: float = 0.5
    confidence: float | None = None
    report: str | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    gain: Mapping[str, Any] | None = None


def measured_in_rounds(models: list[Model]) -> list[Measured]:
    """Of one model's rounds, newest first: the validation images, then each test set."""
    return [each for model in reversed(models) if model.metrics for each in _of_round(model)]


def _of_round(model: Model) -> Iterator[Measured]:
    metrics = model.metrics or {}
    tests: Mapping[str, Any] = metrics.get("tests", {})
    for place, (name, told) in enumerate(((None, metrics), *tests.items())):
        yield Measured(
            key=f"r{model.round_number}" + (f"-{place}" if place else ""),
            name=name or "validation",
            round=model.round_number,
            truth=str(model.predictions if name is None else told["commit"]),
            predictions=str(model.predictions),
            marks=str(model.predictions),
            layer=f"predictions:{model.model_id}",
            split="val" if name is None else None,
            classes=model.classes,
            confidence=told.get("confidence"),
            report=told.get("report"),
            metrics={key: told.get(key) for key in ("map50", "map50_95", "map75", "recall50")},
            gain=told.get("gain"),
        )


def measured_on_branches(sources: Sources, project: str | None, model_id: str) -> list[Measured]:
    """Evaluations of the model that people asked for: commits of kind `evaluate`, newest first."""
    found: dict[str, Measured] = {}
    for branch, tip in sources.tips(project):
        for commit in _evaluations(sources.store, tip.id):
            said = commit.operation.parameters
            if said.get("model") == model_id and "coco" in said and commit.id not in found:
                found[commit.id] = _of_commit(branch, commit)
    return sorted(
        found.values(), key=lambda one: sources.store.commit(one.marks).created_at, reverse=True
    )


def _of_commit(branch: str, commit: Commit) -> Measured:
    said = commit.operation.parameters
    coco: Mapping[str, float | None] = said["coco"]
    return Measured(
        key=commit.id[:16],
        name=branch,
        round=None,
        truth=commit.id,
        predictions=commit.id,
        marks=commit.id,
        layer=str(said["layer"]),
        split=said.get("split"),
        classes=tuple(said.get("classes", ())),
        iou=float(said["iou"]),
        confidence=float(said["confidence"]),
        metrics={"map50": coco["AP50"], "map50_95": coco["AP"], "map75": coco["AP75"]},
    )


@lru_cache(maxsize=256)
def _evaluations(store: Store, tip: str) -> tuple[Commit, ...]:
    """The newest commits of a branch as long as they are evaluations."""
    found: list[Commit] = []
    commit = store.commit(tip)
    while commit.operation.kind == "evaluate" and len(found) < _MOST_COMMITS:
        found.append(commit)
        if not commit.parents:
            break
        commit = store.commit(commit.parents[0])
    return tuple(found)


def report_of(store: Store, measured: Measured) -> Mapping[str, Any]:
    """Everything that was measured, as `mir evaluate --json` says it, with `counts`."""
    if measured.report is not None:
        return _kept(store, measured.report)
    return _again(store, _Asked.of(measured), measured.confidence)


def compare_models(store: Store, a: Measured, b: Measured, metric: Metric) -> Comparison:
    """Whether `b` is better than `a`, on the images that both have, against the truth of `b`."""
    return _compared(store, _Asked.of(a), _Asked.of(b), metric)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What is measured, as a key of what came out."""

    truth: str
    predictions: str
    layer: str
    split: str | None
    classes: tuple[str, ...]
    iou: float

    @classmethod
    def of(cls, measured: Measured) -> _Asked:
        return cls(
            truth=measured.truth,
            predictions=measured.predictions,
            layer=measured.layer,
            split=measured.split,
            classes=measured.classes,
            iou=measured.iou,
        )

    def material(self, store: Store, truth: str | None = None) -> Material:
        from mir_ops.evaluation.materials import read_material

        found = store.read(self.predictions)
        against = store.read(truth or self.truth)
        stats = [version.stats.layers for version in (against, found)]
        rows = [
            layers[name].rows
            for layers, name in zip(stats, ("ground_truth", self.layer), strict=True)
            if name in layers
        ]
        if sum(rows) > MOST_ROWS:
            raise InvalidInputError(
                f"{sum(rows)} boxes and predictions are too many to measure on a page",
                code="too-much-to-measure",
                hint="Measure them with `mir evaluate`, or compare with `mir compare`",
            )
        ids = against.taxonomy
        named = {id_: name for name in self.classes if (id_ := ids.id_of(name)) is not None}
        return read_material(
            against, found, layer=self.layer, classes=named or None, split=self.split
        )


@lru_cache(maxsize=64)
def _kept(store: Store, digest: str) -> Mapping[str, Any]:
    report: Mapping[str, Any] = json.loads(store.get_blob(digest))
    return report


@lru_cache(maxsize=16)
def _again(store: Store, asked: _Asked, confidence: float | None) -> Mapping[str, Any]:
    from mir_ops.evaluation import Settings, evaluate_material

    settings = Settings(iou=asked.iou, confidence=confidence, counts=True)
    with _measuring:  # two at once would take twice the memory
        return evaluate_material(asked.material(store), settings).report


@lru_cache(maxsize=64)
def _compared(store: Store, a: _Asked, b: _Asked, metric: Metric) -> Comparison:
    from mir_ops.evaluation import compare, on_the_same_images

    with _measuring:
        first, second = on_the_same_images(a.material(store, b.truth), b.material(store))
        return compare(first.sides, second.sides, metric=metric)


def chosen_of(measured: list[Measured], key: str | None) -> Measured | None:
    """The one with this key; without a key the newest, if there is one."""
    if key is None:
        return measured[0] if measured else None
    for each in measured:
        if each.key == key:
            return each
    raise NotFoundError(f"No evaluation `{key[:80]}` of this model", code="no-such-evaluation")
