"""Kills a real part of a running Airflow, just when a task has come to a chosen point.

A `Cell` says what dies and where. The tasks of the DAGs that `stopping_dag` writes stop at that
point, say so in a file and wait there; `strike` kills the process meant, and fails unless it died
while the task stood where it should. Killed schedulers are started again, as a deployment does it;
the engine is reached through a `Tunnel` of our own, so that only our connection to it breaks.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from processes import is_running, processes_below

from mir_ops.demo.local_airflow import LocalAirflow
from mir_ops.errors import MirError
from mir_ops.executor.engine import open_engine

Target = Literal["task", "supervisor", "scheduler", "connection"]
Boundary = Literal["prepared", "running", "ended", "committing"]

TARGETS: Final[tuple[Target, ...]] = ("task", "supervisor", "scheduler", "connection")
BOUNDARIES: Final[tuple[Boundary, ...]] = ("prepared", "running", "ended", "committing")
SECONDS: Final = 600.0
DOWN_SECONDS: Final = 2.0

QUICK_TO_NOTICE: Final = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "10",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "2",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "3",
}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What dies, and when."""

    target: Target
    boundary: Boundary

    def __str__(self) -> str:
        return f"{self.target}-{self.boundary}"


CELLS: Final = [Cell(target=t, boundary=b) for t in TARGETS for b in BOUNDARIES]


@dataclass(frozen=True, kw_only=True)
class Stop:
    """A try of a task, which stands at the boundary."""

    dag_id: str
    run_id: str
    task_id: str
    try_number: int
    pid: int
    supervisor: int


@dataclass(frozen=True)
class Stage:
    """The folder through which tests and tasks speak of where to stop."""

    folder: Path

    def arm(self, stops: Mapping[str, str]) -> None:
        """From now on the first try of each of these tasks stops at the boundary named for it."""
        for file in self.folder.iterdir():
            file.unlink()
        self._write("plan", dict(stops))

    def wait(self, task_id: str) -> Stop:
        """The task, once it stands."""
        path = self.folder / f"stopped-{task_id}.json"
        until(path.exists, f"{task_id} stops")
        return Stop(**json.loads(path.read_text()))

    def release(self, task_id: str) -> None:
        self._write(f"go-{task_id}", {})

    def _write(self, name: str, content: dict[str, Any]) -> None:
        partial = self.folder / f"{name}.partial"
        partial.write_text(json.dumps(content))
        os.replace(partial, self.folder / f"{name}.json")


def stopping_dag(
    dag_id: str, stage: Stage, *, retries: int, retry_seconds: float,
    connection: str = "mir_default", engine_url: str = "",
) -> str:  # fmt: skip
    """A file with the round's DAG, whose tasks stop where the stage says, and speak to that
    engine."""
    here = str(Path(__file__).parent)
    return _DAG.format(
        dag_id=dag_id, here=here, stage=str(stage.folder), retries=retries, engine_url=engine_url,
        retry_seconds=retry_seconds, connection=connection,
    )  # fmt: skip


_DAG: Final = """
import sys
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, {here!r})

from airflow.sdk import DAG
from mir_airflow.round_dag import round_dag
from mir_airflow.round_params import PARAMS
from stopping import stop_tasks

dag = round_dag(
    {dag_id!r},
    project="{{{{ params.project }}}}",
    params=PARAMS,
    mir_conn_id={connection!r},
    default_args={{"retries": {retries}, "retry_delay": timedelta(seconds={retry_seconds})}},
)
stop_tasks(dag, Path({stage!r}), engine_url={engine_url!r})
"""


class ChaosAirflow(LocalAirflow):
    """An Airflow whose components are started again when somebody kills them."""

    def services(self) -> dict[str, list[str]]:
        return {
            name: [sys.executable, "-c", _AGAIN.replace("NAME", name), *command]
            for name, command in super().services().items()
        }

    def running(self, name: str) -> int | None:
        """The process of a component that runs now."""
        mark = f"{_MARK} {name}\n"
        (keeper,) = (p for p, told in processes_below(self.home).items() if mark in told)
        children = Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
        return int(children[0]) if children else None


_MARK: Final = "again and again:"
_AGAIN: Final = f"""
# {_MARK} NAME
import ctypes, signal, subprocess, sys, time
die_with_us = lambda: ctypes.CDLL(None).prctl(1, signal.SIGKILL)
while True:
    child = subprocess.Popen(sys.argv[1:], preexec_fn=die_with_us)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    if (code := child.wait()) != -signal.SIGKILL:
        sys.exit(code)
    time.sleep({DOWN_SECONDS})
"""


class Tunnel:
    """A socket that leads to the engine's, through a process that may be killed."""

    def __init__(self, path: Path, *, engine: str = "/var/run/docker.sock") -> None:
        self.path = path
        self.followed = path.with_name(f"{path.name}.followed")  # somebody follows a log
        self._engine = engine
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    def open(self) -> None:
        self.path.unlink(missing_ok=True)
        words = [sys.executable, "-c", _TUNNEL, str(self.path), self._engine, str(self.followed)]
        self._process = subprocess.Popen(words)
        until(self.path.exists, "the tunnel opens")

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self.path.unlink()

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    @contextmanager
    def paused(self, stop: Stop) -> Iterator[None]:
        """The task's container stands still, as whoever does not need the tunnel sees to."""
        engine = open_engine(f"unix://{self._engine}")
        labels = [f"mir.run={stop.run_id}", f"mir.task={stop.task_id}"]
        (container,) = engine.containers(filters={"label": labels, "status": "running"})
        engine.pause(container["Id"])
        self.followed.unlink(missing_ok=True)
        try:
            yield
        finally:
            engine.unpause(container["Id"])
            engine.close()


_TUNNEL: Final = """
import asyncio, sys

async def pipe(reader, writer):
    try:
        while chunk := await reader.read(65536):
            if b"follow=1" in chunk:
                open(sys.argv[3], "w").close()
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.close()

async def both(reader, writer):
    there = await asyncio.open_unix_connection(sys.argv[2])
    await asyncio.gather(pipe(reader, there[1]), pipe(there[0], writer))
    there[1].close()
    writer.close()

async def main():
    server = await asyncio.start_unix_server(both, sys.argv[1])
    await server.serve_forever()

asyncio.run(main())
"""


@contextmanager
def tunnel(path: Path) -> Iterator[Tunnel]:
    opened = Tunnel(path)
    opened.open()
    try:
        yield opened
    finally:
        opened.close()


def strike(cell: Cell, task_id: str, *, stage: Stage, airflow: ChaosAirflow, way: Tunnel) -> None:
    """Wait until the task stands at the boundary and its log says so; kill what the cell says."""
    stop = stage.wait(task_id)
    until(lambda: _has_said(airflow, stop, cell.boundary), f"{stop} logs where it stands")
    assert is_running(stop.pid)
    if cell.target == "connection":
        _break_connection(cell, stop, stage, way)
        return
    victim = {"task": stop.pid, "supervisor": stop.supervisor}.get(cell.target)
    victim = victim or airflow.running("scheduler")
    assert victim is not None
    os.kill(victim, signal.SIGKILL)
    until(lambda: not is_running(victim), f"{cell.target} {victim} is dead")
    if cell.target == "supervisor":
        until(lambda: not is_running(stop.pid), "its task is dead")
    # A task whose scheduler died stays where it is: another one will come for it.


def _has_said(airflow: ChaosAirflow, stop: Stop, boundary: Boundary) -> bool:
    try:
        log = airflow.client.log(stop.dag_id, stop.run_id, stop.task_id, try_number=stop.try_number)
    except MirError:  # it is too busy to answer
        return False
    return any(line.endswith(f"Reached: {boundary}") for line in log.splitlines())


def _break_connection(cell: Cell, stop: Stop, stage: Stage, way: Tunnel) -> None:
    if cell.boundary != "running":
        _interrupt(way, meanwhile=lambda: stage.release(stop.task_id))
        return
    with way.paused(stop):  # it breaks while the log comes in, however slow the machine is
        stage.release(stop.task_id)
        until(way.followed.exists, f"{stop.task_id} follows its container")
        _interrupt(way)


def _interrupt(way: Tunnel, *, meanwhile: Callable[[], None] = lambda: None) -> None:
    way.kill()
    try:
        meanwhile()
        time.sleep(DOWN_SECONDS)
    finally:
        way.open()


def until(met: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, f"not in {seconds:.0f} s: {what}"
        time.sleep(0.05)
