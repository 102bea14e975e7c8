"""Executors that break, hang, flood and lie, by both runners: each ends in the right words.

Every cell runs a step of a round: afterwards nothing runs, nothing was committed, and the step may
be tried again. Child processes run them all; of the containers, `make test` runs a fixed few and
one that the commit chooses, `make test-long` all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest
from rotation import chosen
from round_data import House, Run

from mir_ops.errors import MirError
from mir_ops.executor import (
    ExecutorFailedError,
    ExecutorOutputError,
    Job,
    bundled_image,
    collect_mining,
    owning,
    prepare_inference,
    run_job,
)
from mir_ops.executor.engine import open_engine
from mir_ops.rounds import executing
from mir_ops.rounds.steps import Step
from mir_ops.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
Runner = Literal["process", "docker"]
MIB = 1 << 20
SECONDS = 3.0


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One misbehaviour: in which step, and what a person then reads. `says` None: it succeeds."""

    name: str
    says: str | None
    step: str = "train"
    error: type[MirError] = ExecutorOutputError
    in_container: str | None = None  # where a container says it differently
    limits: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)

    def words(self, runner: Runner) -> str | None:
        return self.in_container or self.says if runner == "docker" else self.says


def fails(name: str, says: str, **more: Any) -> Cell:
    return Cell(name=name, says=says, error=ExecutorFailedError, **more)


def train(name: str, says: str | None, **more: Any) -> Cell:
    return Cell(name=name, says=says, **more)


def infer(name: str, says: str | None, **more: Any) -> Cell:
    return Cell(name=name, says=says, step="evaluate", **more)


def mine(name: str, says: str | None, **more: Any) -> Cell:
    return Cell(name=name, says=says, step="mine", **more)


SLOW = {"time_seconds": SECONDS}
OUT_OF_TIME = "reached its time limit and was ended"
CELLS = [
    fails("raise", r"exited with 1: RuntimeError: lost my way\nLast lines of its log:(.|\n)*lost"),
    fails("crash-silently", r"exited with 9(.|\n)*misbehaving: crash-silently"),
    fails("segfault", "killed by signal 11", in_container="exited with 139"),
    fails("hang", OUT_OF_TIME, limits=SLOW),
    fails("ignore-sigterm", OUT_OF_TIME, limits=SLOW),
    train("leave-children", None),
    fails("leave-children-and-hang", OUT_OF_TIME, limits=SLOW),
    fails(
        "fork-without-end", OUT_OF_TIME, in_container="exited with 1: BlockingIOError",
        limits={"pids": 64, **SLOW},
    ),
    fails("flood-the-log", "said enough", limits={"time_seconds": 60}),
    fails("endless-line", "out of breath"),
    fails("terminal-codes", r"RuntimeError: .{0,9}gone"),
    fails("fill-the-disk", "its output grew past its limit", limits={"disk_bytes": 8 * MIB}),
    fails(
        "one-huge-file", "File too large", in_container="its output grew past its limit",
        limits={"disk_bytes": 8 * MIB},
    ),
    fails(
        "eat-memory", "code 300103: out of memory", limits={"memory_bytes": 192 * MIB},
        in_container="more memory than its limit",
    ),
    train("garbled-monitor", None),
    fails("report-failure-and-exit-well", "code 300002: half of the images are black"),
    train("linked-monitor", None),
    train("linked-log", None),
    train("garbage", "models/result.yaml"),
    train("empty-result", "models/result.yaml"),
    train("other-encoding", "models/result.yaml"),
    train("python-object", "models/result.yaml"),
    train("deep-result", "models/result.yaml"),
    train("list-for-a-result", "is not a mapping"),
    train("no-result", "wrote no `models/result.yaml`"),
    train("linked-result", "models/result.yaml"),
    train("linked-folder", "does not exist|symbolic link"),
    train("linked-model", "model.json"),
    train("pipe-for-a-result", "is not a regular file"),
    train("folder-for-a-result", "is not a regular file"),
    train("huge-result", "the bound is"),
    train("missing-stage", "which is not a stage"),
    train("missing-file", "nothing.json"),
    train("file-outside", r"\.\./\.\./"),
    train("stage-outside", "is not an identifier"),
    train("no-stages", "names no stage"),
    train("nan-metric", "mAP"),
    train("metric-above-one", "1.5"),
    train("metric-of-text", "mAP"),
    infer("garbage", "is not JSON"),
    infer("empty-result", "is not JSON"),
    infer("other-encoding", "infer-result.json"),
    infer("deep-result", "is not JSON"),
    infer("list-for-a-result", "has no mapping `detection`"),
    infer("no-result", "wrote no `infer-result.json`"),
    infer("linked-result", "infer-result.json"),
    infer("pipe-for-a-result", "is not a regular file"),
    infer("huge-result", "the bound is"),
    infer("nan-score", "is not a number"),
    infer("score-above-one", "`score` is 7.5"),
    infer("negative-box", "-4"),
    infer("endless-box", "1e\\+300"),
    infer("text-box", "left"),
    infer("unknown-class", None),
    infer("unknown-image", "`other.jpg` was not a candidate"),
    infer("missing-image", "misses 1 of 4 images"),
    infer("boxes-of-text", "has no list of boxes"),
    mine("garbage", "was not a candidate"),
    mine("no-scores", "does not exist"),
    mine("nan-mining-score", "has no finite score"),
    mine("twice-scored", "is there twice"),
    mine("unknown-candidate", "was not a candidate"),
    mine("missing-score", "misses 1 of"),
    mine("linked-result", "result.tsv"),
    mine("huge-result", "the bound is"),
]  # fmt: skip
FIXED = ("train-raise", "train-leave-children", "train-linked-log", "train-eat-memory")


@dataclass(frozen=True)
class World:
    """A round, and its next steps as they are before any misbehaviour."""

    run: Run
    steps: dict[str, Any]

    @property
    def ws(self) -> Workspace:
        return self.run.ws


def name_of(cell: Cell) -> str:
    return f"{cell.step}-{cell.name}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A round whose training, evaluation and mining are next."""
    run = Run(House(tmp_path_factory.mktemp("misbehaviour")), "run")
    run.all(("open_round", "import_data", "merge_training", "train"))
    # Each cell is an operation of its own: the round's next steps would start from the last one.
    return World(run, {name: run.step(name) for name in ("train", "evaluate")})


@pytest.mark.parametrize("cell", CELLS, ids=name_of)
def test_as_a_process(world: World, cell: Cell) -> None:
    misbehave(world, cell, "process")


@pytest.mark.docker
@pytest.mark.parametrize(
    "cell",
    [cell for cell in CELLS if name_of(cell) in FIXED or cell is chosen(CELLS, "misbehaviour")],
    ids=name_of,
)
def test_as_a_container(world: World, sample_image: str, cell: Cell) -> None:
    misbehave(world, cell, "docker")


@pytest.mark.docker
@pytest.mark.long
@pytest.mark.timeout(3600)
def test_every_one_as_a_container(
    world: World, sample_image: str, record_property: Callable[[str, object], None]
) -> None:
    wrong = []
    for cell in CELLS:
        try:
            misbehave(world, cell, "docker")
        except (AssertionError, pytest.fail.Exception) as error:
            wrong.append(f"{name_of(cell)}: {error}")
    record_property(
        "figure", f"{len(CELLS) - len(wrong)} of {len(CELLS)} misbehaviours end as they must"
    )
    assert wrong == []


def misbehave(run: World, cell: Cell, runner: Runner) -> None:
    """Run the step as the operator does, and look at what is left."""
    before = _everything(run)
    words = cell.words(runner)
    if cell.step == "mine":
        job = _mining_job(run, cell, runner)
        _raises(cell, words, lambda: _ran(job, runner) and collect_mining(job))
    else:
        step = _step(run, cell, runner)
        job = step.prepare()
        _raises(cell, words, lambda: _ran(job, runner) and step.collect(job))
    _assert_nothing_runs(job, runner)
    if words is not None:
        assert _everything(run) == before
    else:
        _assert_no_secret(run, before)


def _ran(job: Job, runner: Runner) -> bool:
    run_job(job, runner=runner)
    return True


def _raises(cell: Cell, words: str | None, work: Any) -> None:
    if words is None:
        work()
        return
    with pytest.raises(cell.error, match=words) as caught:
        work()
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 10_000


def _step(run: World, cell: Cell, runner: Runner) -> Step:
    """The round's step, with the cell's settings and an operation of its own."""
    step: Any = run.steps[cell.step]
    spec = step.entry.round.spec
    config = {cell.step.replace("evaluate", "infer"): {"misbehave": cell.name, **cell.config}}
    executor = spec.executor.model_copy(
        update={
            "config": spec.executor.config.model_copy(update=config),
            "limits": spec.executor.limits.model_copy(update={"time_seconds": 60.0, **cell.limits}),
        }
    )
    round_ = replace(step.entry.round, spec=spec.model_copy(update={"executor": executor}))
    op_id = step.entry.place.op_id({"cell": name_of(cell), "runner": runner})
    return replace(step, entry=replace(step.entry, round=round_, op_id=op_id))


def _mining_job(run: World, cell: Cell, runner: Runner) -> Job:
    step: Any = _step(run, replace(cell, step="evaluate"), runner)
    version = step.measured.version
    return prepare_inference(
        run.ws.store,
        version,
        op_id=step.entry.place.op_id({"mine": cell.name, "runner": runner}),
        image=bundled_image("sample"),
        asset_ids=version.asset_ids(),
        model=executing.model_files(step.model),
        config={"misbehave": cell.name},
        jobs_dir=run.ws.jobs_dir,
        cache=executing.cache_of(step.entry),
        limits=executing.limits_of(step.entry.round.spec),
        labels={},
        mine=True,
    )


def _everything(run: World) -> dict[str, Any]:
    return {
        "commits": {branch.name: branch.tip().id for branch in run.ws.store.branches()},
        "models": [model.op_id for model in run.ws.catalog.models.list("digits")],
    }


def _assert_no_secret(run: World, before: dict[str, Any]) -> None:
    """What was committed in spite of all has nothing of this machine in it."""
    for model in run.ws.catalog.models.list("digits"):
        if model.op_id not in before["models"] and model.log is not None:
            assert b"root:" not in run.ws.store.get_blob(model.log)


def _assert_nothing_runs(job: Job, runner: Runner) -> None:
    left = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and runner == "process":
            try:
                told = (entry / "environ").read_bytes()
            except OSError:
                continue
            if str(job.folder).encode() in told:
                left.append(entry.name)
    assert left == []
    if runner == "docker":
        engine = open_engine()
        name = {"label": f"mir.operation={job.op_id}"}
        assert engine.containers(all=True, filters=name) == []
        engine.close()
    with owning(job.folder.parent, job.op_id, wait_seconds=0):
        pass
