"""The book of a round: an operation that is written there as done is never done again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from mir_ops.catalog import Round
from mir_ops.catalog.pages import keep_round
from mir_ops.errors import ConflictError
from mir_ops.rounds.place import Branches, Place
from mir_ops.workspace import Workspace

STEPS: Final = (
    "open_round",
    "import_data",
    "gate_data",
    "merge_training",
    "check_start",
    "train",
    "evaluate",
    "check_targets",
    "prepare_pool",
    "mine",
    "create_label_task",
    "wait_for_labels",
    "import_labels",
    "gate_labels",
    "merge_labels",
    "check_end",
    "train_last",
    "evaluate_last",
    "close_round",
)

_MESSAGE_LIMIT: Final = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One operation of one step, in the book of its round."""

    ws: Workspace
    place: Place
    round: Round
    step: str
    op_id: str

    @property
    def branches(self) -> Branches:
        return Branches(self.round.project_key)

    @property
    def provenance(self) -> dict[str, Any]:
        """What every commit of a round says about where it comes from."""
        return {
            "project": self.round.project_key,
            "round": self.round.number,
            "run": self.place.run_id,
        }

    def taken(self) -> dict[str, Any] | None:
        """The result, if this very operation was done before."""
        found = self.ws.catalog.steps.take_done(self.round.id, self.step, self.op_id)
        return None if found is None else dict(found)

    def start(self) -> None:
        """Write down that the operation runs. A failed round goes on; a closed one does not."""
        require_open(self.ws, self.round)
        self.ws.catalog.steps.start(self.round.id, self.step, self.op_id)

    def progress(self, percent: float, message: str) -> None:
        self.ws.catalog.steps.progress(
            self.round.id, self.step, self.op_id, percent=percent, message=message[:_MESSAGE_LIMIT]
        )

    def finish(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """The operation is done; the store gets to know what the round has come to."""
        kept = self.ws.catalog.steps.finish(self.round.id, self.step, self.op_id, result)
        keep_round(self.ws.catalog, self.ws.store, self.round.id)
        return kept

    def fail(self, message: str) -> None:
        self.ws.catalog.steps.fail(self.round.id, self.step, self.op_id, message[:_MESSAGE_LIMIT])

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Write down an error that ends the operation, and let it pass."""
        from mir_ops.executor.room import room_in

        try:
            with room_in(self.ws.work_dir):
                yield
        except BaseException as error:
            self.fail(str(error) or type(error).__name__)
            raise


def new_entry(
    ws: Workspace, place: Place, round_id: int, step: str, inputs: Mapping[str, Any]
) -> Entry:
    return Entry(
        ws=ws,
        place=place,
        round=ws.catalog.rounds.get(round_id),
        step=step,
        op_id=place.op_id({"step": step, **inputs}),
    )


def once(entry: Entry, work: Callable[[Entry], Mapping[str, Any]]) -> dict[str, Any]:
    """The operation's result: taken from the book, or worked out now and written there."""
    if (taken := entry.taken()) is not None:
        return taken
    entry.start()
    with entry.failing():
        return entry.finish(work(entry))


def require_open(ws: Workspace, round_: Round) -> None:
    """A closed round is history; a failed one takes the project again and goes on."""
    now = ws.catalog.rounds.get(round_.id)
    if now.state == "closed":
        raise ConflictError(
            f"Round {now.number} of `{now.project}` is closed, and this step would change it",
            code="round-closed",
            hint="Trigger a new run: it starts from the newest training version",
        )
    if now.state == "failed":
        ws.catalog.rounds.open(
            now.project_key,
            deployment=now.deployment,
            dag_id=now.dag_id,
            run_id=now.run_id,
            spec=now.spec,
            conf=now.conf,
        )
