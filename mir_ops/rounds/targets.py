"""Has the project arrived? Decided after each evaluation and after each merge, with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.catalog import ProjectSpec
from mir_ops.rounds.candidates import without
from mir_ops.rounds.ledger import Entry, new_entry, once
from mir_ops.rounds.opening import earlier_rounds
from mir_ops.rounds.place import Place
from mir_ops.rounds.preparing import eligible
from mir_ops.store import Version
from mir_ops.workspace import Workspace

FIRST_LABELS: Final = "first-labels"

_EMPTY: Final = ("empty-pool", "Every image of the pool is labelled or excluded")


def check_targets(ws: Workspace, place: Place, round_id: int) -> dict[str, Any]:
    """Whether to stop before mining: target met, rounds or labels used up, plateau, empty pool."""
    round_ = ws.catalog.rounds.get(round_id)
    evaluated = ws.catalog.steps.result(round_id, "evaluate")
    trained_on = ws.catalog.steps.result(round_id, "merge_training")["commit"]
    spec = round_.spec
    history = [*_history(ws, round_id), evaluated["metrics"]]
    inputs = {
        "stop": spec.stop.model_dump(mode="json"),
        "history": [found for each in history if (found := judged(spec, each)) is not None],
        "version": trained_on,
    }

    def work(_entry: Entry) -> dict[str, Any]:
        labelled = Labelled.of(ws.store.read(trained_on))
        code, reason = decide(
            spec,
            number=round_.number,
            history=inputs["history"],
            labelled=labelled,
            candidates=len(eligible(ws, round_id)),
        )
        return {
            "stop": code is not None,
            "code": code,
            "reason": reason,
            "metric": spec.stop.metric,
            "on": list(spec.test_sets) or "validation",
            "value": inputs["history"][-1],
            "labelled": asdict(labelled),
        }

    return once(new_entry(ws, place, round_id, "check_targets", inputs), work)


def check_end(ws: Workspace, place: Place, round_id: int) -> dict[str, Any]:
    """Whether a last model is to see the labels that just came.

    So where the project or the run asks for it, and where no other round follows: rounds, labels
    or the pool are used up.
    """
    spec, steps = ws.catalog.rounds.get(round_id).spec, ws.catalog.steps
    before, after = (
        steps.result(round_id, step)["commit"] for step in ("merge_training", "merge_labels")
    )
    inputs = {
        "stop": spec.stop.model_dump(mode="json"),
        "train_after_merge": spec.train_after_merge,
        "before": before,
        "after": after,
    }

    def work(entry: Entry) -> dict[str, Any]:
        if before == after:
            reason = "The model has seen all labels" if after else "Nothing is labelled"
            return {"last": False, "code": None, "reason": reason}
        version = ws.store.read(after)
        labelled = Labelled.of(version)
        first = ws.catalog.steps.find(round_id, "train") is None
        code, reason = decide_end(
            spec,
            number=entry.round.number,
            labelled=labelled,
            candidates=_left(ws, round_id, version),
        )
        if code is None and first:
            code, reason = FIRST_LABELS, "No model has seen these first labels"
        return {
            "last": code is not None,
            "code": code,
            "reason": reason,
            "labelled": asdict(labelled),
        }

    return once(new_entry(ws, place, round_id, "check_end", inputs), work)


def judged(spec: ProjectSpec, metrics: Mapping[str, Any]) -> float | None:
    """What a model reached: on the frozen test set where it did worst, or on the validation images.

    None where it was not measured on all of the sets.
    """
    metric, tests = spec.stop.metric, metrics.get("tests", {})
    if not all(name in tests for name in spec.test_sets):
        return None
    return min((float(tests[name][metric]) for name in spec.test_sets), default=metrics[metric])


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """What a training version has in its training split."""

    images: int
    boxes: int

    @classmethod
    def of(cls, version: Version) -> Labelled:
        assets = version.assets(columns=["asset_id", "split"])
        train = assets.filter(pc.fill_null(pc.equal(assets["split"], "train"), False))["asset_id"]
        labelled: pa.Array = version.layer_assets("ground_truth")
        boxes = version.layer("ground_truth", columns=["asset_id"])["asset_id"]
        return cls(
            images=int(pc.sum(pc.is_in(train, value_set=labelled)).as_py() or 0),
            boxes=int(pc.sum(pc.is_in(boxes, value_set=train)).as_py() or 0),
        )


def decide(
    spec: ProjectSpec,
    *,
    number: int,
    history: Sequence[float],
    labelled: Labelled,
    candidates: int,
) -> tuple[str | None, str]:
    """The rule that stops the project, or None; and a sentence for people either way."""
    stop, value = spec.stop, history[-1]
    what = f"{stop.metric} on {_words(spec.test_sets)}" if spec.test_sets else stop.metric
    if stop.target is not None and value >= stop.target:
        return "target", f"{what} {value:.3f} reached the target {stop.target:.3f}"
    # A round that still opens after the last one only trains and measures.
    code, reason = _used_up(spec, number=number - 1, labelled=labelled, candidates=None)
    if code is not None:
        return code, reason
    if (gain := _recent_gain(spec, history)) is not None and stop.plateau is not None:
        return (
            "plateau",
            f"{what} gained {gain:.3f} in {stop.plateau.rounds} rounds, "
            f"less than {stop.plateau.gain:.3f}",
        )
    if candidates == 0:
        return _EMPTY
    return None, f"{what} {value:.3f}, {labelled.images} labelled images, {candidates} to mine from"


def decide_end(
    spec: ProjectSpec, *, number: int, labelled: Labelled, candidates: int
) -> tuple[str | None, str]:
    """Why a last model is to see what round `number` has merged, or None; and a sentence."""
    code, reason = _used_up(spec, number=number, labelled=labelled, candidates=candidates)
    if code is None and spec.train_after_merge:
        return "train-after-merge", "A model of the new labels was asked for"
    return code, reason


def _used_up(
    spec: ProjectSpec, *, number: int, labelled: Labelled, candidates: int | None
) -> tuple[str | None, str]:
    """The rule by which no round follows round `number`, whatever its model reaches."""
    stop = spec.stop
    if stop.rounds is not None and number >= stop.rounds:
        return "rounds", f"All {stop.rounds} rounds are done"
    if stop.labelled_images is not None and labelled.images >= stop.labelled_images:
        return (
            "labelled-images",
            f"{labelled.images} labelled images of {stop.labelled_images} are used",
        )
    if stop.labelled_boxes is not None and labelled.boxes >= stop.labelled_boxes:
        return (
            "labelled-boxes",
            f"{labelled.boxes} labelled boxes of {stop.labelled_boxes} are used",
        )
    return _EMPTY if candidates == 0 else (None, "Another round may follow")


def _left(ws: Workspace, round_id: int, version: Version) -> int:
    """How many candidates the next round has, if nothing new comes."""
    rule = ws.catalog.rounds.get(round_id).spec.mining.exclude
    if rule == "chunk":  # all were looked at
        return 0
    ids = eligible(ws, round_id)
    return len(ids if rule == "none" else without(ids, [version.asset_ids()]))


def _words(tests: Sequence[str]) -> str:
    named = ", ".join(f"`{name}`" for name in tests)
    return f"test set {named}" if len(tests) == 1 else f"the worst of test sets {named}"


def _recent_gain(spec: ProjectSpec, history: Sequence[float]) -> float | None:
    """What the last rounds gained over the best before them, if that is too little."""
    plateau = spec.stop.plateau
    if plateau is None or len(history) <= plateau.rounds:
        return None
    gain = max(history[-plateau.rounds :]) - max(history[: -plateau.rounds])
    return gain if gain < plateau.gain else None


def _history(ws: Workspace, round_id: int) -> list[dict[str, Any]]:
    """The metrics of the closed rounds before this one."""
    found = []
    for earlier in earlier_rounds(ws, ws.catalog.rounds.get(round_id)):
        step = ws.catalog.steps.find(earlier.id, "evaluate")
        if earlier.state == "closed" and step is not None and step.result is not None:
            found.append(step.result["metrics"])
    return found
