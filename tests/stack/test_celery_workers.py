"""Two machines of Celery: the stack's, and one that has the engine and nothing else in common.

The second has a network, a work folder and a compose project of its own, and reaches the first by
the ports that docker-compose.cluster.yaml opens. It alone serves the queue of executors.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from production_stack import (
    DAG,
    DEMO,
    ROOT,
    Stack,
    compose_command,
    image,
    running,
    skip_without,
    until,
)
from stack_rounds import begin, closed_once, finish, training

from mir_ops.demo.services import free_port
from mir_ops.rounds.airflow_api import DagRun

pytestmark = [pytest.mark.docker, pytest.mark.long, pytest.mark.timeout(2400)]

OVERLAYS = ("docker-compose.celery.yaml", "docker-compose.cluster.yaml")
PORTS = {
    "POSTGRES_ADDRESS": "CLUSTER_POSTGRES_PORT",
    "REDIS_ADDRESS": "CLUSTER_REDIS_PORT",
    "S3_URL": "CLUSTER_S3_PORT",
    "AIRFLOW_API_URL": "CLUSTER_API_PORT",
}
EXECUTORS = {"train", "evaluate", "mine_shard", "mine", "train_last", "evaluate_last"}


@dataclass(kw_only=True)
class Second:
    """The other machine's worker."""

    stack: Stack
    folder: Path

    def write_env(self) -> None:
        told = self.stack.settings
        urls = {
            name: f"{'http://' if 'URL' in name else ''}{told['CLUSTER_ADDRESS']}:{told[port]}"
            for name, port in PORTS.items()
        }
        (self.folder / "work").mkdir()
        if os.getuid() == 0:
            os.chown(self.folder / "work", int(told["AIRFLOW_UID"]), 0)
        ours = {
            **{name: value for name, value in told.items() if name not in PORTS.values()},
            **urls,
            "YMIR_PATH": str(self.folder / "work"),
            "WORKER_QUEUES": "executors",
            "WORKER_CONCURRENCY": "2",
        }
        text = "".join(f"{name}={value}\n" for name, value in ours.items())
        (self.folder / "env").write_text(text)
        # Of one deployment with the first, though not of its project: compose 2 takes the name of
        # the project for COMPOSE_PROJECT_NAME, whatever the file says.
        worker = (ROOT / "docker-compose.worker.yaml").read_text()
        named = worker.replace("${COMPOSE_PROJECT_NAME:-mir-ops}", self.stack.name)
        assert named != worker
        (self.folder / "worker.yaml").write_text(named)

    def compose(self, *words: str) -> None:
        command = compose_command()
        assert command is not None
        clean = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        fixed = ["--project-directory", str(ROOT), "--env-file", str(self.folder / "env")]
        files = ["-f", str(self.folder / "worker.yaml")]
        subprocess.run(
            [command, "-p", f"{self.stack.name}-second", *fixed, *files, *words],
            env=clean, check=True, capture_output=True, text=True,
        )  # fmt: skip

    def run_executors_as_processes(self) -> None:
        """Start the worker anew with the runner `process`."""
        told = dict(line.split("=", 1) for line in self.container.attrs["Config"]["Env"])
        connection = json.loads(told["AIRFLOW_CONN_MIR_DEFAULT"])
        connection["extra"]["runner"] = "process"
        changed = {"AIRFLOW_CONN_MIR_DEFAULT": json.dumps(connection)}
        services = {"airflow-worker": {"environment": changed}}
        overlay = self.folder / "processes.yaml"
        overlay.write_text(yaml.safe_dump({"services": services}))
        self.compose("-f", str(overlay), "up", "-d")
        self.wait_healthy()

    @property
    def container(self) -> Any:
        label = f"com.docker.compose.project={self.stack.name}-second"
        (found,) = self.stack.engine.containers.list(all=True, filters={"label": label})
        return found

    @property
    def hostname(self) -> str:
        return str(self.container.attrs["Config"]["Hostname"])

    def wait_healthy(self) -> None:
        until(
            lambda: self.container.attrs["State"]["Health"]["Status"] == "healthy",
            "the second worker is healthy",
        )


@pytest.fixture(scope="module")
def second(
    engine: Any, sample_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Second]:
    skip_without(engine, "redis")
    gateway = engine.networks.get("bridge").attrs["IPAM"]["Config"][0]["Gateway"]
    settings = {
        "REDIS_IMAGE": image("redis"),
        "CLUSTER_ADDRESS": gateway,
        **{port: str(free_port()) for port in PORTS.values()},
        "WORKER_QUEUES": "default",
        "WORKER_CONCURRENCY": "2",
        "TASK_HEARTBEAT_TIMEOUT": "60",
    }
    overlays = [ROOT / name for name in OVERLAYS]
    folder = tmp_path_factory.mktemp("celery")
    with running(folder / "first", engine=engine, overlays=overlays, **settings) as stack:
        other = Second(stack=stack, folder=folder)
        other.write_env()
        other.compose("up", "-d")
        try:
            stack.wait_healthy("airflow-worker")
            other.wait_healthy()
            yield other
        finally:
            other.compose("down", "--volumes", "--timeout", "5")


def hosts(stack: Stack, run: DagRun) -> dict[str, set[str]]:
    """On which hosts tasks ran: those of executors, and the others."""
    rows = stack.run_in(
        "postgres", "psql", "-U", "mir", "-d", "airflow", "-At", "-c",
        f"SELECT task_id, hostname FROM task_instance WHERE run_id = '{run.run_id}' "
        "AND state = 'success' AND hostname <> ''",
    )  # fmt: skip
    found: dict[str, set[str]] = {"executors": set(), "others": set()}
    for task_id, hostname in (row.split("|") for row in rows.splitlines()):
        found["executors" if task_id in EXECUTORS else "others"].add(hostname)
    return found


def test_a_round_runs_on_two_machines_that_share_no_folder(second: Second) -> None:
    stack = second.stack
    stack.bring(DEMO, mining={"strategy": "entropy", "budget": 5, "shard_size": 15})

    run = stack.round(DEMO)

    assert run.state == "success", stack.failures(run)
    ran = hosts(stack, run)
    assert ran["executors"] == {second.hostname}
    assert second.hostname not in ran["others"]
    assert not (stack.work / "jobs").exists()
    assert (second.folder / "work" / "cache").is_dir()
    assert stack.executors() == []


def tries_until_closed(stack: Stack, project: str, run: DagRun) -> int:
    """Follow a round to its end, which is a good one: how often its training was tried."""
    ended = finish(stack, run)
    assert ended.state == "success", stack.failures(ended)
    closed_once(stack, project)
    tries = {task.task_id: task.try_number for task in stack.client.tasks(DAG, run.run_id)}
    return tries["train"]


def test_a_worker_that_is_stopped_ends_its_training_first(second: Second) -> None:
    stack = second.stack
    run = begin(stack, "patient", idle=40)
    (trains,) = training(stack, run)

    second.container.stop(timeout=300)

    assert second.container.attrs["State"]["ExitCode"] == 0
    assert trains.id not in [each.id for each in stack.executors()]
    assert stack.client.task_states(DAG, run.run_id)["train"] == "success"
    second.container.start()
    second.wait_healthy()
    assert tries_until_closed(stack, "patient", run) == 1


def test_a_round_survives_the_sudden_death_of_the_worker_that_trains(second: Second) -> None:
    stack = second.stack
    run = begin(stack, "mortal", idle=30)
    (trains,) = training(stack, run)

    second.container.kill()
    second.container.start()

    assert tries_until_closed(stack, "mortal", run) == 2
    assert trains.id not in [each.id for each in stack.executors()]


def test_so_does_a_worker_whose_executors_are_processes_of_its_own(second: Second) -> None:
    stack = second.stack
    second.run_executors_as_processes()
    config = {"train": {"idle_seconds": 40}}
    stack.bring("native", executor={"name": "sample", "config": config})
    run = stack.client.trigger(DAG, conf={"project": "native"})
    jobs = second.folder / "work" / "jobs"
    until(lambda: any(jobs.rglob("process.json")), "trains")
    assert stack.client.task_states(DAG, run.run_id)["train"] == "running"

    second.container.stop(timeout=300)

    assert second.container.attrs["State"]["ExitCode"] == 0
    assert stack.client.task_states(DAG, run.run_id)["train"] == "success"
    second.container.start()
    second.wait_healthy()
    assert tries_until_closed(stack, "native", run) == 1
    assert stack.executors() == []
