"""A person's word before a model gets its name."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow.providers.standard.operators.hitl import ApprovalOperator

from mir_airflow.hooks.mir import MirHook
from mir_airflow.links import RoundLink
from mir_airflow.notifications import RoundNotifier
from mir_airflow.operators.rounds import StepOperator
from mir_airflow.places import explained, place_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from mir_ops.rounds.place import Place
    from mir_ops.workspace import Workspace

LONGEST_WAIT: Final = timedelta(days=7)


class ApproveModelOperator(ApprovalOperator):
    """
    Ask whether the round's newest model may have its name; waiting holds no worker slot.

    A project that promotes nothing, or that asks nobody, is not asked. When the model is refused,
    or nobody answers in a week, what is downstream is skipped and the round closes without it.

    :param round_id: The round, as ``open_round`` numbered it. (templated)
    :param mir_conn_id: Connection to the workspace.
    """

    template_fields: Sequence[str] = ("subject", "body", "round_id")
    operator_extra_links = (*ApprovalOperator.operator_extra_links, RoundLink())

    def __init__(
        self,
        *,
        round_id: int | str,
        mir_conn_id: str = MirHook.default_conn_name,
        subject: str = "May this model be promoted?",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            subject=subject,
            defaults=self.REJECT,
            response_timeout=LONGEST_WAIT,
            notifiers=RoundNotifier("waiting-for-approval", mir_conn_id=mir_conn_id),
            **kwargs,
        )
        self.round_id = round_id
        self.mir_conn_id = mir_conn_id

    def execute(self, context: Context) -> Any:
        from mir_ops.rounds.promoting import proposal

        with explained(self.log):
            asked = proposal(MirHook(self.mir_conn_id).workspace(), int(self.round_id))
        if asked is None:
            self.log.info("The project promotes no models")
            self.skip(ti=context["ti"], tasks=context["task"].get_direct_relatives(upstream=False))
            return None
        if not asked.asks:
            self.log.info("%s: nobody has to agree", asked)
            return None
        self.body = str(asked)
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        if "error" not in event:  # kept first: a refusal ends the task from within
            self._keep(context, event)
        return super().execute_complete(context, event)

    def _keep(self, context: Context, event: dict[str, Any]) -> None:
        from mir_ops.rounds.promoting import keep_answer

        user = event["responded_by_user"]
        with explained(self.log):
            workspace = MirHook(self.mir_conn_id).workspace()
            keep_answer(
                workspace,
                place_of(context, workspace.deployment),
                int(self.round_id),
                approved=event["chosen_options"] == [self.APPROVE],
                by=user["name"] if user else None,
            )


class PromoteModelOperator(StepOperator):
    """Let the project's name mean the round's newest model."""

    def run_step(self, workspace: Workspace, place: Place, round_id: int) -> dict[str, Any]:
        from mir_ops.rounds.promoting import promote_model

        return promote_model(workspace, place, round_id)
