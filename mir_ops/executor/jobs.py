"""What an executor job is: its image, its limits, its folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from mir_ops.errors import InvalidInputError, NotFoundError

Kind = Literal["train", "infer", "mine"]

# The word that files and commands of the contract have for each.
STEMS: Final[dict[Kind, str]] = {"train": "training", "mine": "mining", "infer": "infer"}

PROTOCOL_VERSION: Final = "1.1.0"
_RECORD: Final = "job.json"
_GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorImage:
    """A container image, and for the process runner the folder with its `start.py`.

    `network` and `run_as_root` are what an old image may need beyond the contract. `templates`
    are the image's default settings per kind of job; a `folder` brings its own in `img-man`.
    `object_type` is what it is asked to find: 2 boxes, 3 and 4 segments. `protocol` is the
    version that the image speaks: below 1.0 it reads models and annotations as YMIR 1.1.0 did.
    """

    name: str
    image: str
    folder: Path | None = None
    network: bool = False
    run_as_root: bool = False
    templates: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    object_type: int = 2
    protocol: str = PROTOCOL_VERSION
    digest: str | None = None

    @property
    def complete(self) -> bool:
        """Our own images promise one result line per candidate; from others it is only asked."""
        return self.folder is not None

    def template(self, kind: Kind) -> dict[str, Any]:
        """The image's default settings for one kind of job."""
        if kind in self.templates:
            return dict(self.templates[kind])
        if self.folder is None and not self.templates:
            return {}
        name = f"{STEMS[kind]}-template.yaml"
        path = None if self.folder is None else self.folder / "img-man" / name
        if path is None or not path.is_file():
            raise InvalidInputError(
                f"Executor `{self.name}` cannot {kind}: it has no `{name}`",
                code="executor-cannot",
                hint="Choose an executor whose `img-man` folder has that template",
            )
        return _read_template(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one job may use. `cpus` None means as many as the host gives this process."""

    time_seconds: float = 3600.0
    memory_bytes: int = 8 * _GIB
    disk_bytes: int = 64 * _GIB  # of `/out`
    cpus: float | None = None
    pids: int = 512
    gpus: int = 0
    gpu_ids: tuple[str, ...] = ()  # of the host; inside the container they count from 0
    shm_bytes: int = _GIB


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """One stage of a model: what a job needs of it. `package` is a file or a blob of the store."""

    model_id: str
    package: Path | str
    class_names: tuple[str, ...]
    stage: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A prepared folder with `in` and `out`, ready for any runner."""

    op_id: str
    kind: Kind
    image: ExecutorImage
    folder: Path
    class_names: tuple[str, ...]
    limits: Limits
    labels: Mapping[str, str]
    candidates: tuple[bytes, ...] | None = None
    predicts: bool = True  # a mining job may be asked for scores alone
    request: str = ""  # digest of what was asked for: the same job is prepared once

    @property
    def inputs(self) -> Path:
        return self.folder / "in"

    @property
    def outputs(self) -> Path:
        return self.folder / "out"

    @property
    def candidates_path(self) -> Path:
        """Ids, names and sizes of the candidates: what results are checked against."""
        return self.folder / "candidates.parquet"

    @property
    def log_path(self) -> Path:
        return self.outputs / "ymir-executor-out.log"

    @property
    def monitor_path(self) -> Path:
        return self.outputs / "monitor.txt"


def job_folder(jobs_dir: Path, op_id: str) -> Path:
    """Where the job of one operation lives: the same place for every try."""
    return jobs_dir / op_id[:32]


def save_job(job: Job) -> None:
    """Write the job's record, last of all: from here on the folder counts as prepared."""
    partial = job.folder / f"{_RECORD}.partial"
    partial.write_text(json.dumps({"op_id": job.op_id, "request": job.request}), encoding="utf-8")
    os.replace(partial, job.folder / _RECORD)


def is_prepared(job: Job) -> bool:
    """Whether an earlier try prepared exactly this job."""
    try:
        record = json.loads((job.folder / _RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    return bool(record["request"] == job.request)


def bundled_folder(name: str) -> Path:
    """The folder of one of the executors that come with this project: `sample`, `detector`."""
    folder = Path(__file__).resolve().parents[2] / "executors" / name
    if not (folder / "start.py").is_file():
        raise NotFoundError(
            f"No executor named `{name}` in `{folder.parent}`",
            code="no-such-executor",
            hint="Give the folder of the executor, or run from a checkout of the project",
        )
    return folder


def bundled_image(name: str) -> ExecutorImage:
    """One of the executors that come with this project, for either runner."""
    from mir_ops import __version__

    return ExecutorImage(
        name=name, image=f"mir-ops/{name}:{__version__}", folder=bundled_folder(name)
    )


def _read_template(path: Path) -> dict[str, Any]:
    template = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    if not isinstance(template, dict):
        raise InvalidInputError(
            f"Template `{path}` is not a mapping",
            code="bad-template",
            hint="Write one `key: value` per line",
        )
    return template
