"""Kills what a round with people depends on, in each phase of the round, and starts it again.

Airflow's components are started again by whoever keeps them (`ChaosAirflow`), Label Studio and the
S3 server by `Victims.kill`, with all that they had stored. Nothing is simulated: a victim's process
gets SIGKILL while the round stands in the phase that a cell names.
"""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from ceph_gateway import Gateway
from chaos import DOWN_SECONDS, ChaosAirflow, Stage, until
from processes import is_running, processes_below
from studio_people import box

from mir_ops.demo.label_studio import LocalLabelStudio
from mir_ops.errors import MirError
from mir_ops.labeling.studio_client import StudioClient

Victim = Literal["scheduler", "triggerer", "api-server", "worker", "label-studio", "s3"]
Phase = Literal["before-training", "training", "mining", "waiting", "collecting"]

VICTIMS: Final[tuple[Victim, ...]] = (
    "scheduler", "triggerer", "api-server", "worker", "label-studio", "s3",
)  # fmt: skip
PHASES: Final[tuple[Phase, ...]] = (
    "before-training", "training", "mining", "waiting", "collecting",
)  # fmt: skip
SERVERS: Final = ("label-studio", "s3")

# Where a task stands when its phase's victim is killed; nothing stands while people work.
_PLACES: Final = {
    "before-training": ("import_data", "committing"),
    "training": ("train", "running"),
    "mining": ("mine", "running"),
    "collecting": ("import_labels", "committing"),
}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What dies, and in which phase of the round."""

    victim: Victim
    phase: Phase

    def __str__(self) -> str:
        return f"{self.victim}-{self.phase}"

    @property
    def place(self) -> tuple[str, str] | None:
        """The task, and the boundary at which it stops."""
        if (self.victim, self.phase) == ("label-studio", "collecting"):
            return "import_labels", "started"  # past that nobody asks it for anything
        return _PLACES.get(self.phase)


CELLS: Final = [Cell(victim=victim, phase=phase) for phase in PHASES for victim in VICTIMS]


@dataclass(frozen=True, kw_only=True)
class Victims:
    """Everything that a round depends on."""

    airflow: ChaosAirflow
    studio: LocalLabelStudio
    gateway: Gateway

    def kill(self, cell: Cell, *, supervisor: int | None, meanwhile: Callable[[], None]) -> None:
        """Kill the cell's victim, let the round go on without it, and see to it that it is back."""
        if cell.victim == "label-studio":
            _kill_all(processes_below(self.studio.home))
            meanwhile()
            time.sleep(DOWN_SECONDS)
            self.studio.stop()
            self.studio.start()
            self.studio.wait_ready()
        elif cell.victim == "s3":
            self.gateway.kill()
            meanwhile()
            time.sleep(DOWN_SECONDS)
            self.gateway.start()
        elif cell.victim == "worker" and supervisor:
            _kill_all([supervisor])
            meanwhile()
        elif cell.victim == "worker":
            # An idle worker of LocalExecutor dies with the lock of the queue in its hand. The next
            # queue, and the next workers, are those of a scheduler that starts anew.
            self._kill_component("scheduler", also=self._workers(), meanwhile=meanwhile)
        else:
            self._kill_component(cell.victim, also=(), meanwhile=meanwhile)

    def _kill_component(
        self, name: str, *, also: Iterable[int], meanwhile: Callable[[], None]
    ) -> None:
        killed = self.airflow.running(name)
        assert killed is not None
        _kill_all([*also, killed])
        meanwhile()
        until(lambda: self._is_back(name, killed), f"{name} is back")

    def _is_back(self, name: str, killed: int) -> bool:
        if self.airflow.running(name) in (None, killed):
            return False
        try:
            self.airflow.client.health()
        except MirError:
            return False
        return True

    def _workers(self) -> list[int]:
        below = processes_below(self.airflow.home)
        return [pid for pid, told in below.items() if told.startswith("airflow worker -- ")]


def strike(cell: Cell, victims: Victims, stage: Stage) -> None:
    """Wait until the cell's task stands where it should; kill, and let it go on."""
    assert cell.place is not None
    task, _ = cell.place
    stop = stage.wait(task)
    assert is_running(stop.pid)
    victims.kill(cell, supervisor=stop.supervisor, meanwhile=lambda: stage.release(task))
    if cell.victim == "worker":
        until(lambda: not is_running(stop.pid), "the worker's task is dead")


def stops(cells: Iterable[Cell]) -> dict[str, str]:
    """For the stage: where to stop which task."""
    return dict(cell.place for cell in cells if cell.place is not None)


def label(studio: LocalLabelStudio, task_id: str, *, share: float = 1.0) -> int:
    """Somebody labels that share of the images that are open; how many they were."""
    with StudioClient(studio.url, studio.login["token"]) as client:
        tasks = client.tasks(int(task_id.split("-")[0]), "id,data,total_annotations")
        waiting = [task for task in tasks if not task["total_annotations"]]
        chosen = waiting[: max(1, round(len(waiting) * share))]
        for task in chosen:
            region = {**box("cat", 25, 25, 50, 50), "original_width": 32, "original_height": 32}
            body = {"result": [region], "lead_time": 2, "unique_id": secrets.token_hex(16)}
            client.post(f"/api/tasks/{task['id']}/annotations/", body)
    return len(chosen)


def annotations(studio: LocalLabelStudio, project: str) -> list[list[int]]:
    """For every label project that was made for a project's rounds: how often each task has been
    answered."""
    with StudioClient(studio.url, studio.login["token"]) as client:
        found: list[dict[str, Any]] = client.get("/api/projects/", title=f"{project} round")[
            "results"
        ]
        return [
            [task["total_annotations"] for task in client.tasks(each["id"], "id,total_annotations")]
            for each in found
        ]


def _kill_all(pids: Iterable[int]) -> None:
    pids = list(pids)
    assert pids, "there is nothing to kill"
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not any(is_running(pid) for pid in pids), f"{pids} are dead")
