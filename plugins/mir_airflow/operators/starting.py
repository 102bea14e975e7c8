"""How a round begins, as an operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.bases.branch import BranchMixIn

from mir_airflow.operators.rounds import StepOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from mir_ops.rounds.place import Place
    from mir_ops.workspace import Workspace


class CheckStartOperator(StepOperator, BranchMixIn):
    """
    Decide whether there is anything to train from; without labels and a model images are drawn.

    :param train: Task to run when there is, or when a model is given.
    :param draw: Task to run when there is not.
    """

    inherits_from_skipmixin = True

    def __init__(self, *, train: str, draw: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.train = train
        self.draw = draw

    def execute(self, context: Context) -> dict[str, Any]:
        result: dict[str, Any] = super().execute(context)
        self.log.info("%s", result["reason"])
        self.do_branch(context, self.draw if result["start"] == "draw" else self.train)
        return result

    def run_step(self, workspace: Workspace, place: Place, round_id: int) -> dict[str, Any]:
        from mir_ops.rounds.steps import check_start

        return check_start(workspace, place, round_id)
