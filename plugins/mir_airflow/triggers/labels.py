"""Waits for people without holding a worker slot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict

from airflow.triggers.base import BaseTrigger, TriggerEvent

from mir_airflow import metrics
from mir_airflow.callbacks import give_up_round
from mir_airflow.hooks.mir import LabelsHook, MirHook
from mir_airflow.links import LABELS_KEY
from mir_ops.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from mir_ops.catalog import LabelTask
    from mir_ops.labeling import LabelProgress
    from mir_ops.workspace import Workspace

SLOWEST_SECONDS: Final = 600.0
WAKE_SECONDS: Final = 3.0
ENDED: Final = "The run was ended from outside"


class LabelsEvent(TypedDict):
    """Why the waiting ended. `message` and `hint` are for people."""

    status: Literal["done", "deadline", "failed"]
    message: str
    hint: str | None


class WaitingTrigger(BaseTrigger):
    """
    Polls the label tool until everything is labelled, the deadline is over, or the task is lost.

    Whatever else goes wrong (the network, the tool, the catalog) is tried again, less and less
    often, until the deadline.

    :param deadline: When to go on with what is done, as an ISO time with a zone.
    :param poll_seconds: How often to ask.
    :param mir_conn_id: Connection to the workspace.
    :param labels_conn_id: Connection to the label tool.
    """

    def __init__(
        self, *, deadline: str, poll_seconds: float, mir_conn_id: str, labels_conn_id: str
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.deadline = deadline
        self.poll_seconds = poll_seconds
        self.mir_conn_id = mir_conn_id
        self.labels_conn_id = labels_conn_id
        self._told: dict[str, Any] = {}

    def what(self) -> dict[str, Any]:
        """The arguments that say what is waited for."""
        raise NotImplementedError

    def ask(self, workspace: Workspace, options: dict[str, Any]) -> tuple[bool, LabelProgress]:
        """Whether the labels are ready, and how far they are."""
        raise NotImplementedError

    def asked_for(self, workspace: Workspace) -> LabelTask | None:
        """The request, as the catalog has it."""
        raise NotImplementedError

    def give_up(self, workspace: Workspace) -> None:
        """A person ended the waiting; a cancelled run calls nobody else back."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            f"mir_airflow.triggers.labels.{type(self).__name__}",
            {
                **self.what(),
                "deadline": self.deadline,
                "poll_seconds": self.poll_seconds,
                "mir_conn_id": self.mir_conn_id,
                "labels_conn_id": self.labels_conn_id,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        deadline = datetime.fromisoformat(self.deadline)
        pause = self.poll_seconds
        while True:
            event, pause = await self._poll(pause)
            remaining = (deadline - datetime.now(UTC)).total_seconds()
            if event is None and remaining <= 0:
                event = LabelsEvent(
                    status="deadline", message="The time for labelling is over", hint=None
                )
            if event is not None:
                yield TriggerEvent(dict(event))  # type: ignore[no-untyped-call]
                return
            await self._sleep(max(0.0, min(pause, remaining)))

    async def _sleep(self, seconds: float) -> None:
        """Wait, but not when a label tool that calls back has just done so.

        Nor when somebody said that what is done is enough: maybe while the tool was asked.
        """
        asleep, (known, _) = 0.0, await self._heard()
        while asleep < seconds:
            pause = min(WAKE_SECONDS, seconds - asleep)
            await asyncio.sleep(pause)
            asleep += pause
            called, enough = await self._heard()
            if enough or called != known:
                return

    async def _heard(self) -> tuple[datetime | None, bool]:
        """When somebody last did something, and whether what is done is enough."""
        try:
            workspace = await MirHook(self.mir_conn_id).aworkspace()
            found = await asyncio.to_thread(self.asked_for, workspace)
        except Exception as error:  # noqa: BLE001  what is wrong shows when the tool is asked
            self.log.debug("Could not look for a call of the label tool: %s", error)
            return None, False
        return (found.last_activity, found.enough_at is not None) if found else (None, False)

    async def on_kill(self) -> None:
        workspace = await MirHook(self.mir_conn_id).aworkspace()
        await asyncio.to_thread(self.give_up, workspace)

    async def _poll(self, pause: float) -> tuple[LabelsEvent | None, float]:
        """What ends the waiting, if anything does; and how long to wait before asking again."""
        try:
            workspace = await MirHook(self.mir_conn_id).aworkspace()
            options = await LabelsHook(self.labels_conn_id).aoptions()
            ready, progress = await asyncio.to_thread(self.ask, workspace, options)
        except (InvalidInputError, NotFoundError) as error:
            return LabelsEvent(status="failed", message=str(error), hint=error.hint), pause
        except Exception as error:  # noqa: BLE001  a broken network must not end weeks of waiting
            self.log.warning("Could not ask the label tool, trying again: %s", error)
            return None, min(2 * pause, SLOWEST_SECONDS)
        said = str(progress)
        await self._tell(as_told(progress))
        if ready:
            return LabelsEvent(status="done", message=said, hint=None), pause
        self.log.info("%s", said)
        return None, self.poll_seconds

    async def _tell(self, progress: dict[str, Any]) -> None:
        """Leave what changed where people and other tools look while the task is deferred."""
        from airflow.sdk.execution_time.xcom import XCom

        if self.task_instance is None or progress == self._told:
            return
        ti = self.task_instance
        try:
            await XCom.aset(
                LABELS_KEY, progress, dag_id=ti.dag_id, task_id=ti.task_id, run_id=ti.run_id
            )
        except Exception as error:  # noqa: BLE001  the log says it, too
            self.log.debug("Could not leave an XCom: %s", error)
            return
        self._told = progress


class LabelsTrigger(WaitingTrigger):
    """
    Waits for the labels of a round.

    :param round_id: The round that waits.
    """

    def __init__(self, *, round_id: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.round_id = round_id

    def what(self) -> dict[str, Any]:
        return {"round_id": self.round_id}

    def ask(self, workspace: Workspace, options: dict[str, Any]) -> tuple[bool, LabelProgress]:
        return ask(workspace, self.round_id, options)

    def asked_for(self, workspace: Workspace) -> LabelTask | None:
        tasks = workspace.catalog.label_tasks.list(self.round_id)
        return tasks[-1] if tasks else None

    def give_up(self, workspace: Workspace) -> None:
        give_up(workspace, self.round_id)


class LabelTaskTrigger(WaitingTrigger):
    """
    Waits for the labels that a run of `dataset_label` asked for.

    :param asked: What it asked for, as its first task left it.
    """

    def __init__(self, *, asked: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.asked = asked

    def what(self) -> dict[str, Any]:
        return {"asked": self.asked}

    def ask(self, workspace: Workspace, options: dict[str, Any]) -> tuple[bool, LabelProgress]:
        return ask_task(workspace, self.asked, options)

    def asked_for(self, workspace: Workspace) -> LabelTask | None:
        return workspace.catalog.label_tasks.find(self.asked["key"])

    def give_up(self, workspace: Workspace) -> None:
        from mir_ops.tasks.labels import give_up_labels

        give_up_labels(workspace, self.asked, ENDED)


def as_told(progress: LabelProgress) -> dict[str, Any]:
    """How far people are, as an XCom."""
    last = progress.last_activity
    return {
        "total": progress.total,
        "done": progress.done,
        "skipped": progress.skipped,
        "by": dict(progress.by),
        "last_activity": None if last is None else last.isoformat(),
        "message": progress.message,
        "page": progress.page,
    }


def give_up(workspace: Workspace, round_id: int) -> None:
    run_id = workspace.catalog.rounds.get(round_id).run_id
    give_up_round(workspace, run_id, ENDED)


def ask(workspace: Workspace, round_id: int, options: dict[str, Any]) -> tuple[bool, LabelProgress]:
    """Whether the labels of a round are ready, and how far they are.

    They are when everything is labelled, and when somebody said that what is done is enough.
    """
    from mir_ops.labeling import open_backend
    from mir_ops.rounds.steps import label_progress, renew_addresses

    round_ = workspace.catalog.rounds.get(round_id)
    backend = open_backend(round_.spec.labels.backend, options=options)
    progress = label_progress(workspace, round_id, backend)
    renew_addresses(workspace, round_id, backend)
    requested = workspace.catalog.steps.result(round_id, "create_label_task")["requested"]
    tasks = workspace.catalog.label_tasks.list(round_id)
    enough = bool(tasks) and tasks[-1].enough_at is not None
    ready = progress.complete or requested == 0 or enough
    since = tasks[-1].created_at if tasks else None
    metrics.send_labels(round_.project_key, None if ready else progress, since)
    return ready, progress


def ask_task(
    workspace: Workspace, asked: dict[str, Any], options: dict[str, Any]
) -> tuple[bool, LabelProgress]:
    """The same of the labels that a run asked for."""
    from mir_ops.labeling import open_backend
    from mir_ops.tasks.labels import follow_labels

    progress = follow_labels(workspace, asked, open_backend(asked["backend"], options=options))
    task = workspace.catalog.label_tasks.find(asked["key"])
    enough = task is not None and task.enough_at is not None
    return progress.complete or enough, progress
