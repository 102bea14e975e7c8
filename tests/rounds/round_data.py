"""A small project in a folder: data, store, catalog, an oracle of its own; and a driver."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from mir_ops.catalog import apply_project
from mir_ops.dataset import import_dataset
from mir_ops.executor import Progress, run_job
from mir_ops.formats.voc import VocFile, VocObject, write_voc
from mir_ops.labeling import LabelBackend, open_backend
from mir_ops.rounds import steps
from mir_ops.rounds.steps import Place, Step
from mir_ops.store import Store
from mir_ops.workspace import Workspace

CLASSES = ("one", "two", "three")
LAST = ("train_last", "evaluate_last")
TASKS = tuple(step for step in steps.STEPS if step not in LAST)  # of a round that others follow
BEFORE_LABELS = TASKS[: TASKS.index("create_label_task")]


def write_voc_zip(path: Path, *, count: int, seed: int, labelled: bool = True) -> Path:
    """Images of noise, each with two boxes."""
    dice, boxes = random.Random(seed), random.Random(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            name = f"{path.stem}-{number:03}"
            archive.writestr(f"images/{name}.png", _image(dice))
            if labelled:
                archive.writestr(f"annotations/{name}.xml", _annotation(name, number, boxes))
    return path


def _image(dice: random.Random) -> bytes:
    small = Image.frombytes("RGB", (6, 6), dice.randbytes(108))
    buffer = io.BytesIO()
    small.resize((48, 48), Image.Resampling.NEAREST).save(buffer, "PNG")
    return buffer.getvalue()


def _annotation(name: str, number: int, dice: random.Random) -> bytes:
    boxes = [
        VocObject(
            name=CLASSES[(number + nth) % len(CLASSES)],
            box=(dice.randint(1, 12), dice.randint(1, 12), 10.0 + nth, 12.0),
        )
        for nth in range(2)
    ]
    return write_voc(VocFile(filename=f"{name}.png", size=(48, 48), objects=tuple(boxes)))


@dataclass
class House:
    """Everything that a round needs, in one folder."""

    root: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    pool: int = 12

    def __post_init__(self) -> None:
        data = self.root / "data"
        write_voc_zip(data / "training.zip", count=6, seed=1)
        write_voc_zip(data / "validation.zip", count=4, seed=2)
        write_voc_zip(data / "pool.zip", count=self.pool, seed=3, labelled=False)
        truth = write_voc_zip(self.root / "truth.zip", count=self.pool, seed=3)
        self.ws = self.workspace()
        Store.open(self.ws.store_url, create=True)
        self._fill_oracle(truth)
        apply_project(self.ws.catalog, self.project())

    def workspace(self) -> Workspace:
        return Workspace(
            store_url=(self.root / "store").as_uri(),
            catalog_url=f"sqlite:///{self.root / 'catalog.db'}",
            work_dir=self.root / "work",
            sharing_dir=self.root / "sharing",
        )

    def project(self) -> dict[str, Any]:
        data = self.root / "data"
        return {
            "name": "digits",
            "classes": list(CLASSES),
            "sources": {
                name: str(data / f"{name}.zip") for name in ("training", "validation", "pool")
            },
            "executor": {"name": "sample", "limits": {"time_seconds": 60}},
            "mining": {"strategy": "entropy", "budget": 4},
            "labels": {"backend": "oracle"},
            "seed": 5,
            **self.settings,
        }

    @property
    def oracle_url(self) -> str:
        return (self.root / "oracle-of-delphi").as_uri()

    def oracle(self) -> LabelBackend:
        return open_backend("oracle", options={"store_url": self.oracle_url, "rev": "truth"})

    def _fill_oracle(self, truth: Path) -> None:
        # Another order of classes than the project's: ids of two stores never agree by chance.
        store = Store.open(self.oracle_url, create=True)
        store.register_classes(list(reversed(CLASSES)))
        import_dataset(store, truth, "truth", op_id="0" * 64, unknown_classes="add")
        truth.unlink()


@dataclass
class Run:
    """One DAG run, without Airflow: it calls the step of each task in turn."""

    house: House
    run_id: str
    conf: Mapping[str, Any] = field(default_factory=dict)
    ws: Workspace = field(init=False)
    backend: LabelBackend = field(init=False)
    jobs: list[str] = field(default_factory=list)  # the kind of each job that really ran
    progress: list[Progress] = field(default_factory=list)
    project: str = "digits"
    run_executor: Callable[..., None] = run_job

    def __post_init__(self) -> None:
        self.ws = self.house.workspace()
        self.backend = self.house.oracle()
        self.round_id = 0

    def place(self, task: str) -> Place:
        return Place(deployment=self.ws.deployment, dag_id="dag", run_id=self.run_id, task_id=task)

    def task(self, task: str) -> dict[str, Any]:
        worked = task in ("train", "evaluate", "mine", *LAST)
        return self._run(task) if worked else self._simple(task)

    def all(self, tasks: tuple[str, ...] = TASKS) -> dict[str, dict[str, Any]]:
        return {task: self.task(task) for task in tasks}

    def _simple(self, task: str) -> dict[str, Any]:
        ws, place, round_id, backend = self.ws, self.place(task), self.round_id, self.backend
        if task == "open_round":
            opened = steps.open_round(ws, place, project=self.project, conf=self.conf)
            self.round_id = opened["round_id"]
            return opened
        calls: dict[str, Callable[[], dict[str, Any]]] = {
            "import_data": lambda: steps.import_data(ws, place, round_id),
            "gate_data": lambda: steps.check_gate(ws, place, round_id, stage="data"),
            "merge_training": lambda: steps.merge_training(ws, place, round_id),
            "check_start": lambda: steps.check_start(ws, place, round_id),
            "check_targets": lambda: steps.check_targets(ws, place, round_id),
            "prepare_pool": lambda: steps.prepare_pool(ws, place, round_id),
            "create_label_task": lambda: steps.create_label_task(ws, place, round_id, backend),
            "wait_for_labels": lambda: {"complete": steps.labels_ready(ws, round_id, backend)},
            "import_labels": lambda: steps.import_labels(ws, place, round_id, backend),
            "gate_labels": lambda: steps.check_gate(ws, place, round_id, stage="labels"),
            "merge_labels": lambda: steps.merge_labels(ws, place, round_id),
            "check_end": lambda: steps.check_end(ws, place, round_id),
            "close_round": lambda: steps.close_round(ws, place, round_id, backend),
        }
        return calls[task]()

    def _run(self, task: str) -> dict[str, Any]:
        step = self.step(task)
        if (finished := step.finished) is not None:
            return finished
        job = step.prepare()
        self.run_executor(job, on_progress=self.progress.append)
        self.jobs.append(task)
        return step.collect(job)

    def step(self, task: str) -> Step:
        made: dict[str, Callable[[Workspace, Place, int], Step]] = {
            "train": steps.training_step,
            "evaluate": steps.evaluation_step,
            "mine": steps.mining_step,
            "train_last": partial(steps.training_step, last=True),
            "evaluate_last": partial(steps.evaluation_step, last=True),
        }
        return made[task](self.ws, self.place(task), self.round_id)
