"""Has the project arrived? Decided after each evaluation, with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.catalog import ProjectSpec
from mir_ops.rounds.candidates import candidate_ids
from mir_ops.rounds.ledger import Entry, new_entry, once
from mir_ops.rounds.opening import earlier_rounds
from mir_ops.rounds.place import Place
from mir_ops.store import Version
from mir_ops.workspace import Workspace


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
        version = ws.store.read(trained_on)
        code, reason = decide(
            spec,
            number=round_.number,
            history=inputs["history"],
            labelled=_labelled(version),
            candidates=len(candidate_ids(ws, round_id)),
        )
        return {
            "stop": code is not None,
            "code": code,
            "reason": reason,
            "metric": spec.stop.metric,
            "on": list(spec.test_sets) or "validation",
            "value": inputs["history"][-1],
        }

    return once(new_entry(ws, place, round_id, "check_targets", inputs), work)


def judged(spec: ProjectSpec, metrics: Mapping[str, Any]) -> float | None:
    """What a model reached: on the frozen test set where it did worst, or on the validation images.

    None where it was not measured on all of the sets.
    """
    metric, tests = spec.stop.metric, metrics.get("tests", {})
    if not all(name in tests for name in spec.test_sets):
        return None
    return min((float(tests[name][metric]) for name in spec.test_sets), default=metrics[metric])


def decide(
    spec: ProjectSpec, *, number: int, history: Sequence[float], labelled: int, candidates: int
) -> tuple[str | None, str]:
    """The rule that stops the project, or None; and a sentence for people either way."""
    stop, value = spec.stop, history[-1]
    what = f"{stop.metric} on {_words(spec.test_sets)}" if spec.test_sets else stop.metric
    if stop.target is not None and value >= stop.target:
        return "target", f"{what} {value:.3f} reached the target {stop.target:.3f}"
    if stop.rounds is not None and number > stop.rounds:
        return "rounds", f"All {stop.rounds} rounds are done"
    if stop.labelled_images is not None and labelled >= stop.labelled_images:
        return "labelled-images", f"{labelled} labelled images of {stop.labelled_images} are used"
    if (gain := _recent_gain(spec, history)) is not None and stop.plateau is not None:
        return (
            "plateau",
            f"{what} gained {gain:.3f} in {stop.plateau.rounds} rounds, "
            f"less than {stop.plateau.gain:.3f}",
        )
    if candidates == 0:
        return "empty-pool", "Every image of the pool is labelled or excluded"
    return None, f"{what} {value:.3f}, {labelled} labelled images, {candidates} to mine from"


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


def _labelled(version: Version) -> int:
    """Images of the training split that have labels."""
    assets = version.assets(columns=["asset_id", "split"])
    labelled: pa.Array = version.layer_assets("ground_truth")
    train = assets.filter(pc.fill_null(pc.equal(assets["split"], "train"), False))
    return int(pc.sum(pc.is_in(train["asset_id"], value_set=labelled)).as_py() or 0)
