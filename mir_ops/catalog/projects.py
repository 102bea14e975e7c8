"""What a project is: the keys of `projects/<name>.yaml`, checked on every write."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote, urlsplit

from pydantic import Field, JsonValue, field_validator, model_validator

from mir_ops.catalog.cron import checked_cron
from mir_ops.catalog.sections import Section, validated

NAME: Final = r"^[a-z0-9][a-z0-9_-]{0,62}$"
Strictless: Final = Field(strict=False)  # a list in the file
LABEL_BACKENDS: Final = ("label-studio", "folder", "oracle")
ADDED_BACKENDS: Final = "mir_ops.label_backends"  # the entry points where others are found
Names = Annotated[tuple[str, ...], Strictless]
Word = Annotated[str, Field(pattern=r"^[^\s,][^\r\n\t,]{0,62}$")]
Words = Annotated[tuple[Word, ...], Strictless]


class Sources(Section):
    """Where the images come from: VOC zips or folders; the pool's annotations are not read.

    A project without training images draws the first ones from its pool, for people to label; it
    may then also keep some of these for validation.
    """

    training: str | None = None
    validation: str | None = None
    pool: str

    @field_validator("training", "validation", "pool")
    @classmethod
    def _is_local(cls, value: str | None) -> str | None:
        return str(local_path(value)) if value is not None else None

    @model_validator(mode="after")
    def _is_measured(self) -> Sources:
        if self.training is not None and self.validation is None:
            raise ValueError("training images need `validation` images to measure a model on")
        return self


class ExecutorConfig(Section):
    """Values over the image's own template, for each kind of job."""

    train: dict[str, JsonValue] = Field(default_factory=dict)
    infer: dict[str, JsonValue] = Field(default_factory=dict)


class ExecutorLimits(Section):
    """What one job may use; what is absent is the executor's default."""

    time_seconds: float | None = Field(default=None, gt=0)
    memory_bytes: int | None = Field(default=None, gt=0)
    disk_bytes: int | None = Field(default=None, gt=0)
    cpus: float | None = Field(default=None, gt=0)
    pids: int | None = Field(default=None, gt=0)
    gpus: int | None = Field(default=None, ge=0)
    shm_bytes: int | None = Field(default=None, gt=0)


class WorkerSpec(Section):
    """Whose tasks these are, by the names of the deployment; what is absent is its default."""

    queue: str | None = Field(default=None, pattern=NAME)
    pool: str | None = Field(default=None, pattern=NAME)


class ExecutorWorkers(Section):
    """Who trains; who infers and mines."""

    train: WorkerSpec = Field(default_factory=WorkerSpec)
    infer: WorkerSpec = Field(default_factory=WorkerSpec)


class ExecutorSpec(Section):
    """The image that trains and infers; `folder` is what the process runner starts.

    With a name alone it is one that `mir executor add` registered, or that comes with mir-ops.
    `protocol` below 1.0 is for images that were made for YMIR 1.1 and before.
    """

    name: str = Field(pattern=NAME)
    image: str | None = None
    folder: str | None = None
    network: bool = False
    run_as_root: bool = False
    protocol: str | None = None
    config: ExecutorConfig = Field(default_factory=ExecutorConfig)
    limits: ExecutorLimits = Field(default_factory=ExecutorLimits)
    workers: ExecutorWorkers = Field(default_factory=ExecutorWorkers)


class MiningSpec(Section):
    """How a round picks images. `exclude` is YMIR's: never look at an image twice (`chunk`),
    never label one twice (`dedup`), or neither. More candidates than `shard_size` are looked at
    by several tasks. `quotas` are images to pick, at least, in which a class was found;
    `per_source` is the most of one `source`: `group_id`, `parent_id` or `attributes.NAME`.
    `control` is the share of the budget that is drawn at random, to measure mining by."""

    strategy: str = "hybrid"
    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    budget: int = Field(default=100, ge=1)
    unit: Literal["images", "boxes"] = "images"
    quotas: dict[str, int] = Field(default_factory=dict)
    per_source: int | None = Field(default=None, ge=1)
    source: str = "group_id"
    control: float = Field(default=0.1, ge=0, le=0.5)
    exclude: Literal["dedup", "chunk", "none"] = "dedup"
    shard_size: int | None = Field(default=None, ge=1)


class PoolSpec(Section):
    """What of the pool a round looks at: an attribute is `key` or `key=value`, and of images that
    fit, `sample` are drawn, others in each round. Nothing said is everything."""

    attributes: Names = ()
    exclude_attributes: Names = ()
    least_width: int | None = Field(default=None, ge=1)
    least_height: int | None = Field(default=None, ge=1)
    sample: int | None = Field(default=None, ge=1)


class LabelsSpec(Section):
    """Who answers, and how long a round waits; where and with which key is a connection's.

    `classes` are those to label, all by default; `shapes` the kinds of annotation to draw. People
    read `guide`, a text file or the address of a page; `annotators` are their e-mail addresses.
    What the model sees is shown from `confidence` on.
    """

    backend: str = "folder"
    classes: Names = ()
    shapes: Annotated[tuple[Literal["box", "rotated_box", "polygon", "mask"], ...], Strictless] = (
        "box",
    )
    guide: str | None = None
    annotators: Names = ()
    confidence: float = Field(default=0.25, ge=0, le=1)
    timeout_days: float = Field(default=90, gt=0)
    poll_seconds: float = Field(default=60, gt=0)

    @field_validator("backend")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if value not in LABEL_BACKENDS:
            added = entry_points(group=ADDED_BACKENDS).names
            if value not in added:
                known = ", ".join(f"`{name}`" for name in (*LABEL_BACKENDS, *sorted(added)))
                raise ValueError(f"no label backend named `{value}`: known are {known}")
        return value

    @field_validator("shapes")
    @classmethod
    def _are_some(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("name at least one shape")
        return value

    @field_validator("annotators")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not re.fullmatch(r"[^@\s,]+@[^@\s,]+", name):
                raise ValueError(f"`{name}` is not an e-mail address")
        return value


class Plateau(Section):
    """Stop when the last `rounds` rounds together gained less than `gain`."""

    rounds: int = Field(default=2, ge=1)
    gain: float = Field(default=0.005, ge=0)


class StopSpec(Section):
    """When a project has arrived; what is absent never stops it."""

    metric: Literal["map50", "map50_95"] = "map50"
    target: float | None = Field(default=None, gt=0, le=1)
    rounds: int | None = Field(default=None, ge=1)
    labelled_images: int | None = Field(default=None, ge=1)
    labelled_boxes: int | None = Field(default=None, ge=1)
    plateau: Plateau | None = None


class ScheduleSpec(Section):
    """When rounds start by themselves; nothing said is never.

    `cron` has five fields, in UTC. `new_data` is whenever data came in, `new_labels` when so many
    images more are labelled than the newest model has seen, `continuous` when a round closed and
    no rule of `stop` holds.
    """

    cron: str | None = None
    new_data: bool = False
    new_labels: int | None = Field(default=None, ge=1)
    continuous: bool = False

    @field_validator("cron")
    @classmethod
    def _is_cron(cls, value: str | None) -> str | None:
        return None if value is None else checked_cron(value)


class GatesSpec(Section):
    """A folder of rules of the team's own, and the values that rules take."""

    rules: str | None = None
    parameters: dict[str, JsonValue] = Field(default_factory=dict)


class ProjectSpec(Section):
    """A project as its file says it, paths absolute."""

    name: str = Field(pattern=NAME)
    description: str = ""
    classes: Names = Field(min_length=1)
    sources: Sources
    executor: ExecutorSpec
    pretrained: str | None = None  # a model's `id[@stage]` or name: every training starts from it
    model: str | None = None  # the first round takes it instead of training one
    pool: PoolSpec = Field(default_factory=PoolSpec)
    mining: MiningSpec = Field(default_factory=MiningSpec)
    labels: LabelsSpec = Field(default_factory=LabelsSpec)
    stop: StopSpec = Field(default_factory=StopSpec)
    test_sets: Names = ()  # names of frozen test sets: rounds measure on them, targets go by them
    gates: GatesSpec = Field(default_factory=GatesSpec)
    train_after_merge: bool = False  # a round ends with a model that has seen its labels
    schedule: ScheduleSpec = Field(default_factory=ScheduleSpec)
    tags: Words = ()  # of the project's DAG; its owners too
    owners: Words = ()
    promote: str | None = Field(default=None, pattern=NAME)  # the name each round's model gets
    approve_model: bool = False  # not before a person says so
    notify: Words = ()  # who is told, as the deployment names them
    seed: int = Field(default=0, ge=0, le=2**31 - 1)

    @field_validator("classes")
    @classmethod
    def _are_distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(name.strip().lower() for name in value)
        if "" in names or len(set(names)) < len(names):
            raise ValueError("class names must be distinct and not empty")
        return names

    @model_validator(mode="after")
    def _labels_known_classes(self) -> ProjectSpec:
        unknown = [name for name in self.label_classes if name not in self.classes]
        if unknown:
            raise ValueError(f"labels.classes: `{unknown[0]}` is no class of the project")
        return self

    @property
    def label_classes(self) -> tuple[str, ...]:
        """The classes that people label, in the project's order."""
        chosen = {name.strip().lower() for name in self.labels.classes}
        known = tuple(name for name in self.classes if not chosen or name in chosen)
        return known + tuple(sorted(chosen - set(known)))

    def to_mapping(self) -> dict[str, Any]:
        """What JSON keeps; `read_project` of it is this project again."""
        return self.model_dump(mode="json")


class RoundConf(Section):
    """What one run may say differently; what is absent or null is the project's."""

    project: str | None = None
    new_data: str | None = None
    budget: int | None = Field(default=None, ge=1)
    strategy: str | None = None
    control: float | None = Field(default=None, ge=0, le=0.5)
    pretrained: str | None = None
    model: str | None = None  # this round takes it instead of training one
    prepare_pool: bool | None = None  # false: the whole pool, this time
    mine: bool | None = None  # false: everything that was prepared is labelled
    label: bool | None = None  # false: nobody is asked, the round ends with its picks
    train_after_merge: bool | None = None
    seed: int | None = Field(default=None, ge=0, le=2**31 - 1)
    as_project: bool | None = None  # true: what earlier runs said does not count any more

    @field_validator("new_data")
    @classmethod
    def _is_local(cls, value: str | None) -> str | None:
        return str(local_path(value)) if value else None


def read_project(mapping: Mapping[str, Any], *, folder: Path | None = None) -> ProjectSpec:
    """The project that a file says; relative paths are taken from `folder`."""
    found = validated(ProjectSpec, mapping, what="project", code="invalid-project")
    return found if folder is None else _with_absolute_paths(found, folder)


def read_conf(mapping: Mapping[str, Any]) -> RoundConf:
    """The parameters of one run, each known and in range."""
    return validated(RoundConf, mapping, what="run", code="invalid-parameter")


def local_path(source: str) -> Path:
    """The path that `source` names: a plain path, or a `file:` address on this machine."""
    parts = urlsplit(source)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    if not source.strip() or "\0" in source or re.match(r"^[a-z][a-z0-9+.-]+:", source, re.I):
        raise ValueError(f"`{source}` is neither a path nor a `file:` address")
    return Path(source)


def _with_absolute_paths(spec: ProjectSpec, folder: Path) -> ProjectSpec:
    def absolute(path: str | None) -> str | None:
        return str((folder / path).resolve()) if path else None

    sources = {name: absolute(path) for name, path in spec.sources.model_dump().items()}
    return spec.model_copy(
        update={
            "sources": Sources.model_validate(sources),
            "executor": spec.executor.model_copy(update={"folder": absolute(spec.executor.folder)}),
            "labels": spec.labels.model_copy(update={"guide": _guide(spec.labels.guide, folder)}),
            "gates": spec.gates.model_copy(update={"rules": absolute(spec.gates.rules)}),
        }
    )


def _guide(guide: str | None, folder: Path) -> str | None:
    """A file, or the address of a page as it is."""
    if guide is None or urlsplit(guide).scheme in ("http", "https"):
        return guide
    return str((folder / guide).resolve())
