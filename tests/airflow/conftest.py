"""One real Airflow for all tests that need one, and Airflow in a process of its own to ask."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import processes_below
from round_worlds import RoundWorld, make_world
from trials import Trials, open_trials

from mir_ops.demo.local_airflow import LocalAirflow

ROOT = Path(__file__).resolve().parents[2]
DAGS = ROOT / "dags"


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> RoundWorld:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def airflow(world: RoundWorld) -> Iterator[LocalAirflow]:
    dags = world.root / "dags"
    dags.mkdir()
    for file in DAGS.glob("*.py"):
        (dags / file.name).write_text(file.read_text())
    (dags / "people_round.py").write_text(_for_people())
    (dags / "container_round.py").write_text(_in_containers())
    (dags / "timed_round.py").write_text(_timed())
    (dags / "secret_round.py").write_text(_with_secrets())
    (dags / "container_reaper.py").write_text(_reaper())
    (dags / "telling.py").write_text(TELLING)
    with LocalAirflow(
        world.root / "airflow",
        dags=dags,
        connections=world.connections(),
        users=USERS,
        env={"AIRFLOW__MIR__NOTIFIERS": json.dumps(_notifiers(world))},
    ) as started:
        started.wait_for_dag("active_learning_round")
        started.wait_for_dag("people_round")
        for name in ("container_round", "timed_round", "secret_round", "container_reaper"):
            started.wait_for_dag(name)
        yield started
    assert processes_below(world.root) == {}


@pytest.fixture(scope="session")
def tried_world(tmp_path_factory: pytest.TempPathFactory) -> RoundWorld:
    return make_world(tmp_path_factory.mktemp("tried"))


@pytest.fixture(scope="session")
def trials(tried_world: RoundWorld) -> Iterator[Trials]:
    """Runs DAGs without a scheduler, quickly."""
    names = ("active_learning_round.py", "project_rounds.py", "dataset_label.py")
    files = {name: (DAGS / name).read_text() for name in names}
    with open_trials(tried_world, files) as opened:
        yield opened


@pytest.fixture(scope="session")
def in_airflow(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Runs Python code beside an Airflow home of its own, and returns what it prints."""
    home = tmp_path_factory.mktemp("airflow-home")

    def run(code: str, **env: str) -> str:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW")}
        settings = {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**clean, **settings, **env},
            cwd=home,  # in the checkout, the package's metadata would be found a second time
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


USERS = {"admin": "admin", "viewer": "viewer"}

# A notifier of somebody else's, which writes a line for each thing that it is told.
TELLING = """
from pathlib import Path

from airflow.sdk import BaseNotifier


class Line(BaseNotifier):
    template_fields = ("line",)

    def __init__(self, path, line):
        super().__init__()
        self.path, self.line = path, line

    def notify(self, context):
        with Path(self.path).open("a") as file:
            file.write(" ".join(self.line.splitlines()) + chr(10))
"""


def _notifiers(world: RoundWorld) -> dict[str, Any]:
    line = "{{ mir.event }} | {{ mir.subject }} | {{ mir.text }} | {{ mir.url }}"
    arguments = {"path": str(world.root / "told.txt"), "line": line}
    broken = {**arguments, "line": "{{ nobody.knows }}"}
    return {
        "team": {"notifier": "telling.Line", "arguments": arguments},
        "broken": {"notifier": "telling.Line", "arguments": broken},
    }


def _for_people() -> str:
    """The round's DAG, with people in place of the oracle, and quick to try again."""
    return _round_dag("people_round", labels_conn_id="people")


def _in_containers() -> str:
    """The round's DAG with the docker runner, and quick to try again."""
    return _round_dag("container_round", mir_conn_id="containers")


def _timed() -> str:
    """The same, and a training may take a few seconds only."""
    text = _round_dag("timed_round", retries=0, mir_conn_id="containers")
    return text + 'dag.get_task("train").execution_timeout = timedelta(seconds=6)\n'


def _with_secrets() -> str:
    """In containers, over connections that a test makes while Airflow runs."""
    return _round_dag("secret_round", mir_conn_id="secret_store", labels_conn_id="secret_labels")


def _round_dag(dag_id: str, *, retries: int = 2, **connections: str) -> str:
    """A file with the DAG of a round, over these connections."""
    return f"""
from datetime import timedelta

from mir_airflow.round_dag import round_dag
from mir_airflow.round_params import PARAMS

dag = round_dag(
    {dag_id!r},
    project="{{{{ params.project }}}}",
    params=PARAMS,
    default_args={{"retries": {retries}, "retry_delay": timedelta(seconds=1)}},
    **{connections!r},
)
"""


def _reaper() -> str:
    """The reaper for containers, when somebody asks for it."""
    text = (DAGS / "executor_reaper.py").read_text()
    text = text.replace('dag_id="executor_reaper"', 'dag_id="container_reaper"')
    text = text.replace("schedule=timedelta(minutes=10)", "schedule=None")
    return text.replace("Operator(\n", 'Operator(\n        mir_conn_id="containers",\n')
