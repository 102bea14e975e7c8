"""What a large pool costs a round: imported, mined in shards by two workers of Celery, merged.

    python benchmarks/scale.py --json             100 000, 300 000 and 1 000 000 images: hours
    python benchmarks/scale.py --json --images 10000 --shard 2500         a look, in minutes
    python benchmarks/scale.py --json --results scale.jsonl    goes on where one like it was ended

For each size there is a project with a pool of so many small images, and a whole round of it runs
on a real Airflow: CeleryExecutor, PostgreSQL, Redis, two workers with one task at a time each, the
sample executor as a child process, labels by the oracle. The store is on Ceph's object gateway,
whose disk is a file (`--server moto` takes moto_server, which counts no bytes). Then one worker
looks at the same pool again, from an empty cache of images, up to the picks.

Each stage is told as it ends: wall seconds, CPU seconds of its tasks and of the executors that they
started, the largest task's peak memory, and bytes to and from the server. Peak memory is what the
task's process has resident at most, with what it shares with the worker that it was forked from;
what it took is that without what it began with. This is judged where it must not grow: of the tasks
that look at a shard, the last quarter of a round against its first, when the host's cache of images
is empty, and the largest pool against the smallest.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from types import SimpleNamespace
from typing import Any, Final

import store_operations
from lines import Line, report
from scale_world import World

from mir_ops.errors import StoreError
from mir_ops.rounds.airflow_api import DagRun
from mir_ops.store import Store
from mir_ops.store.urls import open_objects
from mir_ops.workspace import Workspace

sys.path.append(str(Path(__file__).parents[1] / "tests"))
import celery_airflow
import ceph_gateway
import postgres_server
from celery_airflow import CeleryAirflow

ROOT: Final = Path(__file__).resolve().parents[1]
DAG: Final = "active_learning_round"
SIZES: Final = (100_000, 300_000, 1_000_000)
SHARD: Final = 25_000
SHARDS: Final = "mine_shard"
STAGES: Final = {
    "import_data": "import",
    "gate_data": "gate of the data",
    "prepare_pool": "prepare the pool",
    "plan_shards": "plan the shards",
    SHARDS: "shards",
    "mine": "score and pick",
    "import_labels": "import the labels",
    "merge_labels": "merge the labels",
    "close_round": "close",
}
TOOK: Final = "MiB that a task took"
WORKERS: Final = 2
DAY: Final = 24 * 3600.0
PATIENCE: Final = 900.0
MOST_GROWTH: Final = 1.15  # for what the allocator rounds, and how threads meet
SECONDS: Final = 2.0  # between two looks at what ended
BUCKET: Final = "pools"

Mark = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """An S3 server with an empty bucket; `counters` says what it was asked, if it does."""

    url: str
    keys: tuple[str, str]
    counters: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What the tasks of one stage used, together; `peak` and `took` are the most of one, in MiB.

    `early` and `late` are what one of the first and of the last quarter took, on average.
    """

    wall: float
    cpu: float
    peak: float
    took: float
    early: float
    late: float
    written: float | None
    read: float | None

    @classmethod
    def of(cls, marks: Sequence[Mark], executors: float) -> Stage:
        """`executors` are the CPU seconds of what the tasks started."""
        first = min(marks, key=lambda mark: mark["start"]["time"])["start"]
        last = max(marks, key=lambda mark: mark["end"]["time"])["end"]

        def moved(what: str) -> float | None:
            if not last["server"]:
                return None
            return float(last["server"][what] - first["server"][what])

        ended = sorted(marks, key=lambda mark: mark["end"]["time"])
        took = [mark["peak"] - mark["start"]["memory"] for mark in ended]
        quarter = -(-len(took) // 4)
        return cls(
            wall=last["time"] - first["time"],
            cpu=executors + sum(mark["end"]["cpu"] - mark["start"]["cpu"] for mark in marks),
            peak=max(mark["peak"] for mark in marks),
            took=max(took),
            early=mean(took[:quarter]),
            late=mean(took[-quarter:]),
            written=moved("put_b"),
            read=moved("get_b"),
        )

    def lines(self, name: str) -> Iterator[Line]:
        """One for each thing that it used."""
        yield Line(name=f"{name}: seconds", ours=self.wall)
        yield Line(name=f"{name}: CPU seconds", ours=self.cpu)
        yield Line(name=f"{name}: peak MiB of a task", ours=self.peak)
        yield Line(name=f"{name}: {TOOK}", ours=self.took)
        if self.written is not None and self.read is not None:
            yield Line(name=f"{name}: MB to the server", ours=self.written / 1e6)
            yield Line(name=f"{name}: MB from the server", ours=self.read / 1e6)


class Watch:
    """Runs rounds on an Airflow, and tells of each stage when it has ended."""

    def __init__(self, airflow: CeleryAirflow, world: World, marks: Path) -> None:
        self.airflow, self.world, self._marks = airflow, world, marks

    def round(self, project: str, **conf: Any) -> Iterator[tuple[str, Stage]]:
        """Run one, and yield its stages as they end."""
        run = self.airflow.client.trigger(DAG, conf={"project": project, **conf})
        told: set[str] = set()
        until = time.monotonic() + DAY
        while (state := self._state(run)) != "success":
            if state == "failed" or time.monotonic() > until:
                raise StoreError(f"The round of {project} is {state}: {self._failed(run)}")
            yield from self._ended(run, told, over=False)
            time.sleep(SECONDS)
        yield from self._ended(run, told, over=True)

    def _state(self, run: DagRun) -> str:
        """What Airflow says of a run; a server that is too busy to say it is asked again."""
        try:
            return self.airflow.client.run(DAG, run.run_id).state
        except StoreError as error:
            if error.code != "airflow-unreachable":
                raise
            return "unknown"

    def _ended(self, run: DagRun, told: set[str], *, over: bool) -> Iterator[tuple[str, Stage]]:
        marks = [mark for mark in self._read() if mark["run"] == run.run_id]
        seen = {mark["task"] for mark in marks}
        for task in STAGES:
            mine = [mark for mark in marks if mark["task"] == task]
            whole = task != SHARDS or over or "mine" in seen
            if mine and whole and task not in told:
                told.add(task)
                yield task, Stage.of(mine, self._executors(run, task))

    def _read(self) -> list[Mark]:
        if not self._marks.exists():
            return []
        lines = self._marks.read_text(encoding="utf-8").splitlines()
        return [mark for mark in map(json.loads, lines) if mark["state"] == "success"]

    def _executors(self, run: DagRun, task: str) -> float:
        """CPU seconds of the executors that the tasks of a stage started."""
        workspace = self.world.workspace
        found = workspace.catalog.rounds.find_run(workspace.deployment, run.run_id)
        assert found is not None
        used = [
            step.result["usage"]["cpu_seconds"]
            for step in workspace.catalog.steps.list(found.id)
            if step.step == task or (task == SHARDS and step.step.startswith(f"{SHARDS}_"))
            if step.result and step.result.get("usage")
        ]
        return sum(seconds or 0.0 for seconds in used)

    def _failed(self, run: DagRun) -> str:
        states = self.airflow.client.task_states(DAG, run.run_id)
        return ", ".join(task for task, state in states.items() if state == "failed")


def measure(
    watch: Watch, sizes: Sequence[int], shard_size: int, results: Path | None
) -> Iterator[Line]:
    """A round with two workers and one with one for each size, then what grew between them."""
    took: dict[int, dict[str, float]] = {}
    for number, images in enumerate(sizes):
        lines = _kept(results, images)
        if not lines:
            for line in _size(watch, images, shard_size, number):
                lines.append(line)
                yield line
            _keep(results, lines)
        else:
            yield from lines
        ends = {f"{images} images, {STAGES[task]}: {TOOK}": task for task in STAGES}
        took[images] = {ends[line.name]: line.ours for line in lines if line.name in ends}
    if len(sizes) > 1:
        yield from _growth(took, min(sizes), max(sizes))


def _size(watch: Watch, images: int, shard_size: int, number: int) -> Iterator[Line]:
    name, of = f"pool-{images}", f"{images} images"
    start = time.monotonic()
    watch.world.make_project(name, images, shard_size, seed=number)
    _say(f"{of}: written in {time.monotonic() - start:.0f} s")
    two: dict[str, Stage] = {}
    for task, stage in _with_workers(watch, WORKERS, name):
        two[task] = stage
        yield from stage.lines(f"{of}, {STAGES[task]}")
        if task == SHARDS:
            yield Line(
                name=f"{of}, {STAGES[task]}: {TOOK}, late against early",
                ours=stage.late,
                other=stage.early,
                bar=MOST_GROWTH,
            )
    shutil.rmtree(watch.world.workspace.cache_dir)  # each looks at images that it has to fetch
    for task, one in _with_workers(watch, 1, name, label=False):
        if task == SHARDS:
            yield from _against(f"{of}, {STAGES[task]}", two[task], one)
    shutil.rmtree(watch.world.workspace.cache_dir)
    shutil.rmtree(watch.world.root / name)


def _kept(results: Path | None, images: int) -> list[Line]:
    """What an earlier run measured of this size, if it measured all of it."""
    if results is None or not results.exists():
        return []
    lines = [Line(**json.loads(text)) for text in results.read_text("utf-8").splitlines()]
    return [line for line in lines if line.name.startswith(f"{images} images, ")]


def _keep(results: Path | None, lines: Sequence[Line]) -> None:
    if results is not None:
        with results.open("a", encoding="utf-8") as file:
            file.write("".join(f"{json.dumps(asdict(line))}\n" for line in lines))


def _with_workers(
    watch: Watch, count: int, project: str, **conf: Any
) -> Iterator[tuple[str, Stage]]:
    for _ in range(count):
        watch.airflow.start_worker()
    try:
        yield from watch.round(project, **conf)
    finally:
        watch.airflow.stop_workers()


def _against(name: str, two: Stage, one: Stage) -> Iterator[Line]:
    yield Line(name=f"{name}: seconds, two workers against one", ours=two.wall, other=one.wall)
    yield Line(name=f"{name}: CPU seconds, two workers against one", ours=two.cpu, other=one.cpu)


def _growth(took: dict[int, dict[str, float]], few: int, many: int) -> Iterator[Line]:
    """Memory at the largest pool against the smallest; a shard's must stay as it was."""
    for task, ours in took[many].items():
        other = took[few][task]
        each = (ours - other) * 2**20 / (many - few)
        yield Line(
            name=f"{STAGES[task]}: {TOOK} at {many} against {few} images",
            ours=ours,
            other=other,
            bar=MOST_GROWTH if task == SHARDS else None,
            note=f"{each:.0f} bytes for each image more",
        )


@contextmanager
def ceph() -> Iterator[Server]:
    with ceph_gateway.running(on_disk=True) as gateway:
        gateway.client().create_bucket(Bucket=BUCKET)
        keys = ceph_gateway.ACCESS_KEY, ceph_gateway.SECRET_KEY
        yield Server(url=_url(gateway.endpoint), keys=keys, counters=gateway.counters)


@contextmanager
def moto() -> Iterator[Server]:
    nowhere = SimpleNamespace(options=SimpleNamespace(endpoint=""))
    with store_operations.server(nowhere) as (endpoint, *keys):
        store_operations.bare_client(endpoint, *keys).create_bucket(Bucket=BUCKET)
        url = _url(endpoint)
        objects = open_objects(url, create=True, access_key=keys[0], secret_key=keys[1])
        # On a busy machine it fails a store's whole probe: of writers at once one may be lost.
        Store.on(objects, create=True, probe="conditions")
        yield Server(url=url, keys=(keys[0], keys[1]))


def _url(endpoint: str) -> str:
    return f"s3://{BUCKET}/scale?endpoint_url={endpoint}"


@contextmanager
def airflow_of(root: Path, server: Server) -> Iterator[Watch]:
    """An Airflow without workers, and what they will work on."""
    with ExitStack() as stack:
        databases = stack.enter_context(postgres_server.running())
        workspace = Workspace(
            store_url=server.url,
            catalog_url=postgres_server.create_database(databases, "mir"),
            work_dir=root / "work",
            deployment="scale",
            access_key=server.keys[0],
            secret_key=server.keys[1],
        )
        Store.open(server.url, create=True, access_key=server.keys[0], secret_key=server.keys[1])
        world = World(root=root, workspace=workspace)
        marks, home, dags = root / "marks.jsonl", root / "home", root / "dags"
        for folder in (home / "plugins", dags):
            folder.mkdir(parents=True)
        shutil.copy(ROOT / "dags" / f"{DAG}.py", dags)
        shutil.copy(ROOT / "benchmarks/scale_watch.py", home / "plugins")
        airflow = CeleryAirflow(
            home,
            database=postgres_server.create_database(databases, "airflow"),
            broker=stack.enter_context(celery_airflow.redis()),
            dags=dags,
            connections=world.connections(),
            env={
                "MIR_SCALE_MARKS": str(marks),
                "MIR_SCALE_GATEWAY": str(server.counters or ""),
            },
        )
        stack.callback(airflow.stop)
        airflow.start()
        airflow.wait_healthy(PATIENCE)
        airflow.wait_for_dag(DAG, PATIENCE)
        stack.callback(workspace.catalog.close)
        yield Watch(airflow, world, marks)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _lines(options: argparse.Namespace) -> Iterator[Line]:
    missing = celery_airflow.missing_parts()
    if options.server == "ceph":
        missing += ceph_gateway.missing_programs()
    if missing:
        _say(f"Skipped: {', '.join(missing)} not installed here")
        return
    server = {"ceph": ceph, "moto": moto}[options.server]
    with ExitStack() as stack:
        root = options.folder or stack.enter_context(
            tempfile.TemporaryDirectory(prefix="mir-scale-")
        )
        watch = stack.enter_context(airflow_of(Path(root), stack.enter_context(server())))
        yield from measure(watch, options.images, options.shard, options.results)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--images", type=int, nargs="+", default=SIZES, help="sizes of the pools")
    parser.add_argument("--shard", type=int, default=SHARD, help="images that a task looks at")
    parser.add_argument("--server", choices=("ceph", "moto"), default="ceph")
    parser.add_argument("--results", type=Path, help="what is in it already is not run again")
    parser.add_argument("--folder", type=Path, help="an empty one, kept, for what is written")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # its servers end, too
    return report(_lines(options), as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
