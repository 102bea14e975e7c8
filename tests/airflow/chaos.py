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
from collections.abc import Callable, Iterator
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

    def arm(self, cell: Cell, *, tasks: tuple[str, ...]) -> None:
        """From now on the first try of each of these tasks stops at the cell's boundary."""
        for file in self.folder.iterdir():
            file.unlink()
        self._write("plan", {"boundary": cell.boundary, "tasks": list(tasks)})

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


def stopping_dag(text: str, stage: Stage, *, engine_url: str) -> str:
    """A DAG file whose executor tasks stop where the stage says, and speak to that engine."""
    for operator in ("TrainOperator", "EvaluateOperator", "MineOperator"):
        text = text.replace(f"= {operator}(", f"= Stopping{operator}(docker_url={engine_url!r}, ")
    first = text.index("\nDOC: Final = ")
    return text[:first] + _STOPPING.format(folder=str(stage.folder)) + text[first:]


# In the task: `committing` is just before the model or the branch is written.
_STOPPING: Final = """
import json
import os
import time
from pathlib import Path

from mir_ops.catalog.steps import Models
from mir_ops.store import edits

STAGE = Path({folder!r})
current = []


def stop_at(operator, boundary):
    plan = json.loads((STAGE / "plan.json").read_text())
    task = operator.task_id
    if plan["boundary"] != boundary or task not in plan["tasks"]:
        return
    stopped = STAGE / f"stopped-{{task}}.json"
    try:
        handle = os.open(f"{{stopped}}.first", os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        return  # this is a later try
    os.close(handle)
    partial = STAGE / f"{{task}}.partial"
    names = ("dag_id", "run_id", "task_id", "try_number")
    told = {{name: getattr(operator.ti, name) for name in names}}
    told.update(pid=os.getpid(), supervisor=os.getppid())
    partial.write_text(json.dumps(told))
    os.replace(partial, stopped)
    while not (STAGE / f"go-{{task}}.json").exists():
        time.sleep(0.05)


def committing():
    if current:
        operator = current.pop()
        operator.log.info("Reached: committing")
        stop_at(operator, "committing")


def before(function):
    def wrapped(*args, **kwargs):
        committing()
        return function(*args, **kwargs)

    return wrapped


class Stopping:
    ti = None

    def execute(self, context):
        self.ti = context["ti"]
        return super().execute(context)

    def reached(self, boundary):
        super().reached(boundary)
        stop_at(self, boundary)
        if boundary == "ended":
            current.append(self)
            Models.add, edits.move_ref = before(Models.add), before(edits.move_ref)


class StoppingTrainOperator(Stopping, TrainOperator):
    pass


class StoppingEvaluateOperator(Stopping, EvaluateOperator):
    pass


class StoppingMineOperator(Stopping, MineOperator):
    pass

"""


class ChaosAirflow(LocalAirflow):
    """An Airflow whose scheduler is started again when somebody kills it."""

    def services(self) -> dict[str, list[str]]:
        services = super().services()
        services["scheduler"] = [sys.executable, "-c", _AGAIN, *services["scheduler"]]
        return services

    def scheduler(self) -> int:
        """The scheduler that runs now."""
        keepers = [p for p, told in processes_below(self.home).items() if _AGAIN_MARK in told]
        (child,) = Path(f"/proc/{keepers[0]}/task/{keepers[0]}/children").read_text().split()
        return int(child)


_AGAIN_MARK: Final = "again and again"
_AGAIN: Final = f"""
# {_AGAIN_MARK}
import signal, subprocess, sys
code = -signal.SIGKILL
while code == -signal.SIGKILL:
    child = subprocess.Popen(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    code = child.wait()
sys.exit(code)
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
    victim = victim or airflow.scheduler()
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
