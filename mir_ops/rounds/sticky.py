"""What runs said differently from the project, which holds for the rounds after them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mir_ops.catalog import Project, ProjectSpec, Round, RoundConf
from mir_ops.rounds.beginning import find_training
from mir_ops.workspace import Workspace

KEPT: Final = ("budget", "strategy", "control", "pretrained", "train_after_merge", "seed")


def said_before(ws: Workspace, project: Project, *, run_id: str | None = None) -> dict[str, Any]:
    """What earlier runs said and still holds: value, round, and the project's value at that time.

    It holds until a run says otherwise, or the project's own value becomes another one. The round
    of `run_id` does not count as earlier.
    """
    for earlier in reversed(ws.catalog.rounds.list(project.name)):
        opening = ws.catalog.steps.find(earlier.id, "open_round")
        if earlier.run_id != run_id and opening is not None and opening.result is not None:
            said: Mapping[str, Any] = opening.result.get("said", {})
            own = own_values(project.spec)
            return {name: one for name, one in said.items() if one["project"] == own[name]}
    return {}


def with_said(asked: RoundConf, before: Mapping[str, Any]) -> RoundConf:
    """The run's conf, with what earlier runs said where it says nothing."""
    if asked.as_project:
        return asked
    silent = {name: one["value"] for name, one in before.items() if getattr(asked, name) is None}
    return asked.model_copy(update=silent)


def said_now(
    asked: RoundConf, before: Mapping[str, Any], spec: ProjectSpec, number: int
) -> dict[str, Any]:
    """What holds after this run: to say what the project says takes a word back."""
    own = own_values(spec)
    held = {} if asked.as_project else dict(before)
    for name in KEPT:
        if (value := getattr(asked, name)) is None:
            continue
        held.pop(name, None)
        if value != own[name]:
            held[name] = {"value": value, "project": own[name], "round": number}
    return held


def next_round(ws: Workspace, project: str) -> dict[str, Any]:
    """What a run that says nothing would take now: its parameters, and what it starts from.

    Each parameter has its `value`, and the number of the `round` that said so, None where it is
    the project's.
    """
    found = ws.catalog.projects.get(project)
    said, own = said_before(ws, found), own_values(found.spec)
    training = find_training(ws.store, found.key)
    models = ws.catalog.models.list(project)
    return {
        "parameters": {
            name: {"value": said[name]["value"], "round": said[name]["round"]}
            if name in said
            else {"value": own[name], "round": None}
            for name in KEPT
        },
        "training": training.id if training else None,
        "model": f"{models[-1].model_id}@{models[-1].stage}" if models else None,
    }


def next_lines(following: Mapping[str, Any] | None) -> list[str]:
    """The next round's parameters in a sentence."""
    if following is None:
        return []
    told = [
        f"{name.replace('_', ' ')} {one['value']}"
        + ("" if one["round"] is None else f" (since round {one['round']})")
        for name, one in following["parameters"].items()
        if one["value"] is not None
    ]
    return [f"The next round takes, if its run says nothing: {', '.join(told)}."]


def own_values(spec: ProjectSpec) -> dict[str, Any]:
    """What the project itself says of these parameters."""
    mining = spec.mining
    return {
        "budget": mining.budget,
        "strategy": mining.strategy,
        "control": mining.control,
        "pretrained": spec.pretrained,
        "train_after_merge": spec.train_after_merge,
        "seed": spec.seed,
    }


def conf_of(round_: Round) -> RoundConf:
    """What the round's run said."""
    return RoundConf.model_validate(dict(round_.conf))
