"""A name for the round's newest model, and the person who may have to agree first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mir_ops.rounds.ledger import Entry, new_entry, once
from mir_ops.rounds.place import Place
from mir_ops.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What would be promoted: `name` would mean `model` from then on."""

    name: str
    model: str
    asks: bool  # a person
    metrics: Mapping[str, float]

    def __str__(self) -> str:
        reached = ", ".join(f"{name} {value:.3f}" for name, value in self.metrics.items())
        return f"Model `{self.model[:12]}` would be called `{self.name}`: {reached}"


def proposal(ws: Workspace, round_id: int) -> Proposal | None:
    """The newest model of the round, if the project says what name its models get."""
    spec = ws.catalog.rounds.get(round_id).spec
    if spec.promote is None:
        return None
    steps = ws.catalog.steps
    ended = steps.find(round_id, "check_end")
    last = ended is not None and bool((ended.result or {}).get("last"))
    trained, measured = ("train_last", "evaluate_last") if last else ("train", "evaluate")
    if steps.find(round_id, trained) is None:
        return None  # a draw that nobody labelled
    metrics = steps.result(round_id, measured)["metrics"]
    return Proposal(
        name=spec.promote,
        model=str(steps.result(round_id, trained)["model_id"]),
        asks=spec.approve_model,
        metrics={name: float(metrics[name]) for name in ("map50", "map50_95")},
    )


def keep_answer(
    ws: Workspace, place: Place, round_id: int, *, approved: bool, by: str | None
) -> dict[str, Any]:
    """Write down what was said to the proposal; `by` is nobody when time ran out."""
    asked = proposal(ws, round_id)
    inputs = {"model": asked.model if asked else None, "approved": approved, "by": by}
    return once(new_entry(ws, place, round_id, "approve_model", inputs), lambda _entry: inputs)


def promote_model(ws: Workspace, place: Place, round_id: int) -> dict[str, Any]:
    """Let the project's name mean the round's newest model, at its best stage."""
    from mir_ops.executor.models import choose_model
    from mir_ops.executor.models import promote_model as promote

    asked = proposal(ws, round_id)
    if asked is None:
        return {"name": None, "model_id": None, "stage": None}
    inputs = {"name": asked.name, "model": asked.model}

    def work(_entry: Entry) -> dict[str, Any]:
        promotion = promote(ws, choose_model(ws, asked.model), asked.name)
        return {
            "name": promotion.name,
            "model_id": promotion.model_id,
            "stage": promotion.stage,
        }

    return once(new_entry(ws, place, round_id, "promote_model", inputs), work)
