"""A closed round played in again from its record, beside the store and the catalog it is in.

What a round starts from is taken from the record: the imported data, the training version before
it, the project as it was then, the labels that people gave. Everything else is worked out again:
merges, training, evaluation, decisions, the pool, scores, picks. Gates are not asked again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final

from mir_ops.catalog import read_project
from mir_ops.catalog.copies import copy_until
from mir_ops.errors import NotFoundError
from mir_ops.executor import owning, run_job
from mir_ops.labeling import LabelProgress, LabelRequest, LabelResult
from mir_ops.rounds import steps
from mir_ops.rounds.closing import grown_training
from mir_ops.rounds.labels import read_answers
from mir_ops.rounds.ledger import STEPS, new_entry
from mir_ops.rounds.place import Place
from mir_ops.rounds.record import FORMAT, read_record, write_record
from mir_ops.rounds.steps import Step
from mir_ops.store import Operation, Store, operation_id
from mir_ops.store.schema import GROUND_TRUTH
from mir_ops.workspace import Workspace

_GIVEN: Final = ("open_round", "import_data")
_SIMPLE: Final = (
    "merge_training",
    "check_start",
    "check_targets",
    "prepare_pool",
    "create_label_task",
    "import_labels",
    "merge_labels",
    "check_end",
)


@dataclass(frozen=True, kw_only=True)
class Scratch(Workspace):
    """A workspace that reads the store `original` and writes below `folder`."""

    original: Store
    folder: Path

    @cached_property
    def store(self) -> Store:
        return self.original.scratch(self.folder / "store")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerun:
    """Both records of a round, and where what was made anew can be read."""

    recorded: Mapping[str, Any]
    replayed: Mapping[str, Any]
    scratch: Scratch


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedLabels:
    """Gives the answers that a round got."""

    ws: Workspace
    labelled: Mapping[str, Any]  # what `import_labels` left
    kind: str

    def create(self, request: LabelRequest) -> str:
        return f"recorded-{request.key}"

    def progress(self, task_id: str) -> LabelProgress:  # noqa: ARG002
        return LabelProgress(total=0, done=0)

    def fetch(self, task_id: str, request: LabelRequest) -> LabelResult:  # noqa: ARG002
        answers, commit = read_answers(self.ws, self.labelled["answers"]), self.labelled["commit"]
        truth = GROUND_TRUTH.empty_table()
        if commit is not None:
            version = self.ws.store.read_commit_version(commit)
            truth = version.layer("ground_truth", ids=answers["done"])
        return LabelResult(
            annotations=truth,
            done=answers["done"],
            skipped=answers["skipped"],
            issues=self.labelled["issues"],
            seconds=self.labelled["seconds"],
        )

    def close(self, task_id: str) -> None:
        """There is nobody to tell."""


def rerun_round(
    ws: Workspace, project: str, number: int, *, on_step: Callable[[str], None] = lambda _: None
) -> Rerun:
    """Play a closed round in again; one that was interrupted goes on where it was.

    `on_step` is told the name of each step that begins. Nothing of the store or the catalog is
    changed: what comes of it is in a folder below the work folder, which the next rerun empties.
    """
    round_ = ws.catalog.rounds.get_number(project, number)
    recorded = read_record(ws, round_.record)
    if recorded["format"] != FORMAT:
        raise NotFoundError(
            f"The record of round {number} has format {recorded['format']}, which lacks what a "
            "rerun needs",
            code="record-format",
            hint=f"Rounds that closed with format {FORMAT} can be played in again",
        )
    folder = ws.work_dir.absolute() / "reruns" / f"{project}-r{number}-{str(round_.record)[:8]}"
    with owning(folder.parent, str(round_.record)):
        if (folder / "record.json").is_file():
            shutil.rmtree(folder)
        scratch = _scratch(ws, recorded, folder)
        spec = read_project(recorded["spec"])
        took = replace(round_, spec=spec, conf=recorded["run"]["conf"])
        copy_until(ws.catalog, scratch.catalog, took)
        player = _Player(ws=scratch, round_id=round_.id, record=recorded)
        replayed = player.play(on_step)
        text = json.dumps(replayed, sort_keys=True, allow_nan=False)
        (folder / "record.json").write_text(text, encoding="utf-8")
    return Rerun(recorded=recorded, replayed=json.loads(text), scratch=scratch)


def _scratch(ws: Workspace, recorded: Mapping[str, Any], folder: Path) -> Scratch:
    folder.mkdir(parents=True, exist_ok=True)
    return Scratch(
        store_url=ws.store_url,
        catalog_url=f"sqlite:///{folder / 'catalog.db'}",
        work_dir=ws.work_dir,
        runner=recorded["image"]["runner"],
        deployment=ws.deployment,
        access_key=ws.access_key,
        secret_key=ws.secret_key,
        engine=ws.engine,
        original=ws.store,
        folder=folder,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Player:
    ws: Scratch
    round_id: int
    record: Mapping[str, Any]

    def play(self, on_step: Callable[[str], None]) -> dict[str, Any]:
        self._start_branches()
        for step in STEPS:
            if step in self.record["steps"] and step in (*_GIVEN, *_WORKED, *_SIMPLE):
                on_step(step)
                self._step(step)
        entry = new_entry(self.ws, self._place("close_round"), self.round_id, "close_round", {})
        return write_record(entry, grown_training(self.ws, self.round_id))

    def _step(self, step: str) -> None:
        if step in _GIVEN:
            result = self.record["steps"][step]
            self.ws.catalog.steps.start(self.round_id, step, "0" * 64)
            self.ws.catalog.steps.finish(self.round_id, step, "0" * 64, result)
        elif step in _WORKED:
            if step == "mine":
                plan = steps.plan_shards(self.ws, self._place("plan_shards"), self.round_id)
                for number in range(len(plan["shards"])):
                    place = self._place(f"mine_shard_{number}")
                    self._work(steps.shard_step(self.ws, place, self.round_id, number))
            self._work(_WORKED[step](self.ws, self._place(step), self.round_id))
        else:
            self._simple(step)

    def _simple(self, step: str) -> None:
        call: Callable[..., Any] = getattr(steps, step)
        if step in ("create_label_task", "import_labels"):
            call = partial(call, backend=self._labels())
        call(self.ws, self._place(step), self.round_id)

    def _work(self, step: Step) -> None:
        if step.finished is None:
            job = step.prepare()
            run_job(job, runner=self.ws.runner, engine=self.ws.engine)
            step.collect(job)

    def _labels(self) -> RecordedLabels:
        made = self.record["steps"]
        return RecordedLabels(
            ws=self.ws,
            labelled=made["import_labels"],
            kind=made["create_label_task"]["backend"],
        )

    def _place(self, step: str) -> Place:
        """Of its own: what the round did is not found, and done again."""
        run = self.record["run"]
        return Place(
            deployment=self.ws.deployment,
            dag_id=run["dag"],
            run_id=f"rerun-{run['run']}",
            task_id=step,
        )

    def _start_branches(self) -> None:
        """Branches to which the round added stand where they stood before it did."""
        names = new_entry(
            self.ws, self._place("open_round"), self.round_id, "open_round", {}
        ).branches
        made = {
            names.evaluation: self.record["commits"]["evaluation"],
            names.labels: self.record["commits"]["labels"],
        }
        for branch, commit in made.items():
            parents = self.ws.store.commit(commit).parents if commit else ()
            if parents and not self.ws.store.branch(branch).exists:
                before = self.ws.store.commit(parents[0])
                with self.ws.store.edit(
                    branch,
                    base=before,
                    op_id=operation_id("rerun/branch", {"branch": branch, "commit": before.id}),
                    operation=Operation(kind="branch", inputs=(before.id,)),
                    message=f"Start where round {self.record['round']} started",
                ):
                    pass


_WORKED: Final[Mapping[str, Callable[[Workspace, Place, int], Step]]] = {
    "train": steps.training_step,
    "evaluate": steps.evaluation_step,
    "mine": steps.mining_step,
    "train_last": partial(steps.training_step, last=True),
    "evaluate_last": partial(steps.evaluation_step, last=True),
}
