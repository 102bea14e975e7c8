"""What rounds cost Airflow: parsing the DAGs of many projects, importing one, and running one.

    python benchmarks/rounds.py --json                     100 projects, rounds on a real Airflow
    python benchmarks/rounds.py --projects 20 --no-airflow --json     a look, in a minute

Parsing is what the DAG processor does with `dags/project_rounds.py`: the file is run, its DAGs are
checked and serialized, in seconds of CPU, for the projects and for a quarter of them. Importing is
a process that loads one DAG file, beside one that loads an empty DAG. A round of empty steps is one
whose every step finds in the book that it was done (all tasks of a closed round, cleared), beside
a DAG of as many tasks that do nothing, in the same Airflow and in turn; the time in which the two
gates run, or their likes of the other side, does not count. The other DAG has the same tasks but
those that such a round skips, after one another as they are there, and its run is cleared as well.
CPU seconds are those of all of Airflow. They and a first round of a tiny project are reported, and
not judged.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import psutil
from datasets_children import generate
from lines import Line, report

from mir_ops.catalog import apply_project
from mir_ops.dataset import import_dataset
from mir_ops.demo.local_airflow import LocalAirflow
from mir_ops.errors import StoreError
from mir_ops.rounds.airflow_api import DagRun
from mir_ops.store import Store
from mir_ops.workspace import Workspace

DAGS: Final = Path(__file__).resolve().parents[1] / "dags"
CLASSES: Final = ("class00", "class01")
PARTS: Final = {"training": 6, "validation": 4, "pool": 12}
GATES: Final = ("gate_data", "gate_labels")
TURNS: Final = 3
RUN_SECONDS: Final = 900.0
MOST_OF_LINEAR: Final = 1.1  # of which a tenth is for what measuring sways
MOST_OF_EMPTY_FILE: Final = 1.3
MOST_OF_BARE: Final = 1.5

PARSE: Final = """
import json, resource, sys
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization

def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime

DagBag(sys.argv[1])  # what it imports is loaded once
start = cpu()
bag = DagBag(sys.argv[1])
assert not bag.import_errors, bag.import_errors
for dag in bag.dags.values():
    DagSerialization.to_dict(dag)
print("\\n" + json.dumps({"dags": len(bag.dags), "seconds": cpu() - start}))
"""

IMPORT: Final = """
import json, resource, sys
from airflow.dag_processing.dagbag import DagBag

bag = DagBag(sys.argv[1])
assert len(bag.dags) == 1 and not bag.import_errors, bag.import_errors
used = resource.getrusage(resource.RUSAGE_SELF)
print("\\n" + json.dumps({"seconds": used.ru_utime + used.ru_stime}))
"""

EMPTY: Final = """
from airflow.sdk import DAG

dag = DAG("empty", schedule=None)
"""

# Tasks of the names that a round's have, after those after which they are there.
BARE: Final = """
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG

AFTER = {after}

def nothing():
    return {{}}

with DAG("bare", schedule=None, default_args={{"retries": 2}}):
    tasks = {{name: PythonOperator(task_id=name, python_callable=nothing) for name in AFTER}}
    for name, after in AFTER.items():
        tasks[name] << [tasks[each] for each in after]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A workspace with data, and the connection that Airflow reads."""

    root: Path
    workspace: Workspace

    def apply(self, name: str, **more: Any) -> None:
        mapping = {
            "name": name,
            "classes": list(CLASSES),
            "sources": {part: str(self.root / part) for part in PARTS},
            "executor": {"name": "sample"},
            "mining": {"strategy": "entropy", "budget": 5},
            "labels": {"backend": "oracle", "poll_seconds": 1},
            **more,
        }
        apply_project(self.workspace.catalog, mapping)

    def connections(self) -> dict[str, dict[str, Any]]:
        extra = {
            "store_url": self.workspace.store_url,
            "catalog_url": self.workspace.catalog_url,
            "work_dir": str(self.workspace.work_dir),
            "deployment": self.workspace.deployment,
        }
        oracle = {"store_url": (self.root / "oracle").as_uri(), "rev": "truth"}
        return {
            "mir_default": {"conn_type": "mir", "extra": extra},
            "mir_labels": {"conn_type": "mir_labels", "extra": oracle},
        }


def make_world(root: Path) -> World:
    for part, images in PARTS.items():
        generate(str(root / part), str(images), str(len(CLASSES)))
    Store.open((root / "store").as_uri(), create=True)
    oracle = Store.open((root / "oracle").as_uri(), create=True)
    import_dataset(oracle, root / "pool", "truth", op_id="truth", unknown_classes="add")
    workspace = Workspace(
        store_url=(root / "store").as_uri(),
        catalog_url=f"sqlite:///{root / 'catalog.db'}",
        work_dir=root / "work",
        deployment="benchmark",
    )
    return World(root=root, workspace=workspace)


def measure_parsing(root: Path, projects: int) -> Line:
    """Seconds of CPU for a project among many, beside those for one among a quarter as many."""
    few = max(1, projects // 4)
    worlds = {count: _many_projects(root, count) for count in (few, projects)}
    turns: dict[int, list[float]] = {few: [], projects: []}
    for _ in range(TURNS):
        for count, world in worlds.items():
            parsed = _in_airflow(world, PARSE, DAGS / "project_rounds.py")
            assert parsed["dags"] == count, parsed
            turns[count].append(parsed["seconds"] / count)
    ours, other = (min(turns[count]) for count in (projects, few))
    return Line(
        name=f"parse {projects} projects, CPU seconds for each, against {few}",
        ours=ours,
        other=other,
        bar=MOST_OF_LINEAR,
    )


def _many_projects(root: Path, count: int) -> World:
    world = make_world(_folder(root, f"{count}-projects"))
    for number in range(count):
        schedule = {"cron": f"{number % 60} {number % 24} * * *", "continuous": True}
        world.apply(f"project-{number:03}", schedule=schedule, tags=[f"team {number % 7}"])
    return world


def measure_import(root: Path) -> Line:
    """Seconds of CPU of a process that loads the round's DAG, beside one with an empty DAG."""
    world = make_world(_folder(root, "import"))
    empty = world.root / "empty.py"
    empty.write_text(EMPTY)
    pairs = [
        [_in_airflow(world, IMPORT, path)["seconds"] for path in (round_file, empty)]
        for round_file in [DAGS / "active_learning_round.py"] * (2 * TURNS)
    ]
    ours, other = (statistics.median(column) for column in zip(*pairs, strict=True))
    return Line(
        name="import the DAG of a round, CPU seconds, against an empty DAG",
        ours=ours,
        other=other,
        bar=MOST_OF_EMPTY_FILE,
    )


def measure_rounds(root: Path) -> Iterator[Line]:
    """A first round, then rounds of empty steps and bare runs in turn."""
    world = make_world(_folder(root, "rounds"))
    world.apply("small")
    dags = _folder(root, "dags")
    (dags / "round.py").write_text((DAGS / "active_learning_round.py").read_text())
    home = root / "home"
    with LocalAirflow(home, dags=dags, connections=world.connections()) as airflow:
        airflow.wait_for_dag("active_learning_round")
        run = airflow.client.trigger("active_learning_round", conf={"project": "small"})
        first = _seconds(airflow, run)
        after = _after(airflow, run)
        (dags / "bare.py").write_text(BARE.format(after=after))
        airflow.wait_for_dag("bare")
        bare_run = airflow.client.trigger("bare")
        _seconds(airflow, bare_run)
        turns = [(_again(airflow, bare_run), _again(airflow, run)) for _ in range(TURNS)]
    (bare, bare_cpu), (ours, ours_cpu) = (
        [statistics.median(column) for column in zip(*side, strict=True)]
        for side in zip(*turns, strict=True)
    )
    of = f"a round of {len(after)} empty steps"
    yield Line(name="a first round of a tiny project, seconds", ours=first, other=bare)
    yield Line(name=f"{of}, CPU seconds, against bare tasks", ours=ours_cpu, other=bare_cpu)
    yield Line(name=f"{of}, seconds, against bare tasks", ours=ours, other=bare, bar=MOST_OF_BARE)


def _after(airflow: LocalAirflow, run: DagRun) -> dict[str, list[str]]:
    """The tasks that a run did not skip, each with those that it comes right after."""
    did = [t.task_id for t in airflow.client.tasks(run.dag_id, run.run_id) if t.state == "success"]
    tasks = airflow.client._call("GET", f"/dags/{run.dag_id}/tasks")["tasks"]
    follows = {task["task_id"]: task["downstream_task_ids"] for task in tasks}
    return {name: [each for each in did if name in follows[each]] for name in did}


def _again(airflow: LocalAirflow, run: DagRun) -> tuple[float, float]:
    """A run once more: its seconds without those of gates, and CPU seconds of all of Airflow."""
    before = _cpu(airflow)
    airflow.client.clear(run.dag_id, run.run_id, ["open_round"], downstream=True)
    seconds = _seconds(airflow, run)
    return seconds, _cpu(airflow) - before


def _cpu(airflow: LocalAirflow) -> float:
    """CPU seconds that its processes used, with those of children that ended."""
    keeper = airflow._services._keeper
    assert keeper is not None
    times = []
    for process in psutil.Process(keeper.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # a task that just ended is its worker's
            times.append(process.cpu_times())
    return sum(t.user + t.system + t.children_user + t.children_system for t in times)


def _seconds(airflow: LocalAirflow, run: DagRun) -> float:
    """From the run's start to its end; when tasks named as gates ran does not count."""
    ended = airflow.client.wait_for_run(run.dag_id, run.run_id, timeout=RUN_SECONDS)
    if ended.state != "success":
        raise StoreError(f"Run `{run.run_id}` of `{run.dag_id}` is {ended.state}")
    path = f"/dags/{run.dag_id}/dagRuns/{run.run_id}"
    whole = _span(airflow.client._call("GET", path))
    tasks = airflow.client._call("GET", f"{path}/taskInstances", params={"limit": 100})
    gates = [task for task in tasks["task_instances"] if task["task_id"] in GATES]
    return whole - sum(_span(gate) for gate in gates)


def _span(answer: Mapping[str, Any]) -> float:
    if not answer["start_date"] or not answer["end_date"]:
        return 0.0
    start, end = (datetime.fromisoformat(answer[f"{each}_date"]) for each in ("start", "end"))
    return (end - start).total_seconds()


def _in_airflow(world: World, code: str, *arguments: Path) -> dict[str, Any]:
    """What a process beside an Airflow home of its own prints last."""
    home = world.root / "airflow"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    settings = {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    connection = {"AIRFLOW_CONN_MIR_DEFAULT": json.dumps(world.connections()["mir_default"])}
    done = subprocess.run(
        [sys.executable, "-c", code, *(str(each) for each in arguments)],
        env={**clean, **settings, **connection},
        cwd=world.root,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise StoreError(f"Airflow did not do as asked: {done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _folder(root: Path, name: str) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    return folder


def lines(root: Path, options: argparse.Namespace) -> Iterator[Line]:
    yield measure_parsing(root, options.projects)
    yield measure_import(root)
    if not options.no_airflow:
        yield from measure_rounds(root)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="One object a line")
    parser.add_argument("--projects", type=int, default=100, metavar="N", help="Default: 100")
    parser.add_argument("--no-airflow", action="store_true", help="No rounds on a real Airflow")
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="mir-rounds-") as folder:
        return report(lines(Path(folder), options), as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
