"""Whether a round is to start by itself: after another one, or because labels came."""

from __future__ import annotations

from mir_ops.rounds.beginning import find_training
from mir_ops.rounds.targets import FIRST_LABELS, Labelled
from mir_ops.workspace import Workspace


def continues(ws: Workspace, round_id: int) -> tuple[bool, str]:
    """Whether the next round follows this one at once; and a sentence for people.

    It does where the project is continuous, no rule of `stop` holds, and labels were merged: a
    round that nobody labelled for would find the same images again.
    """
    steps = ws.catalog.steps
    if not ws.catalog.rounds.get(round_id).spec.schedule.continuous:
        return False, "The project is not continuous"
    checked = steps.find(round_id, "check_targets")  # not where images were drawn
    if checked is not None and checked.result and checked.result["stop"]:
        return False, str(checked.result["reason"])
    ended = steps.result(round_id, "check_end")
    if ended["code"] not in (None, "train-after-merge", FIRST_LABELS):
        return False, str(ended["reason"])
    before, after = (
        steps.result(round_id, step)["commit"] for step in ("merge_training", "merge_labels")
    )
    if before == after:
        return False, "No labels came"
    return True, "Another round may follow"


def new_labels(ws: Workspace, project: str) -> int:
    """How many images more are labelled for training than the newest model has seen."""
    tip = find_training(ws.store, ws.catalog.projects.get(project).key)
    if tip is None:
        return 0
    models = ws.catalog.models.list(project)
    seen = Labelled.of(ws.store.read(models[-1].training)).images if models else 0
    return Labelled.of(ws.store.read(tip.id)).images - seen
