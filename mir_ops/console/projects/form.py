"""The form of a project: every key that people set in a browser, by section.

A described executor (`executor.image`, `folder`, …) and `gates.rules` take the shell: the API
refuses them here, so the form leaves them as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from typing import Any, Literal

from mir_ops.catalog import ProjectSpec
from mir_ops.catalog.projects import ADDED_BACKENDS, LABEL_BACKENDS
from mir_ops.console.messages import _
from mir_ops.console.sources import Sources

Kind = Literal["text", "long", "lines", "number", "select", "check", "choices", "pairs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One key. `lines` is a list, an entry a line; `pairs` a mapping, `key: value` a line.

    `options` are all there are of `select` and `choices`, and suggestions for `text`.
    """

    key: str
    label: str
    kind: Kind = "text"
    hint: str = ""
    options: Sequence[str] = ()
    least: float | None = None
    most: float | None = None
    step: str = "1"
    needed: bool = False
    value: Any = None

    @property
    def text(self) -> str:
        """The value as the field shows it."""
        if self.value is None:
            return ""
        if self.kind == "lines":
            return "\n".join(self.value)
        if self.kind == "pairs":
            return "\n".join(f"{key}: {_plain(each)}" for key, each in self.value.items())
        return f"{self.value:g}" if isinstance(self.value, float) else str(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """A part of the form; `shown` are open at first."""

    title: str
    fields: Sequence[Field]
    shown: bool = False


def sections(sources: Sources, spec: ProjectSpec | None) -> list[Fields]:
    """The form, filled in with the project, or with what a new one has unless it says otherwise."""
    kept = spec.to_mapping() if spec else _defaults()
    return [
        replace(part, fields=[replace(each, value=_at(kept, each.key)) for each in part.fields])
        for part in (*_main(sources), *_more())
    ]


def _main(sources: Sources) -> list[Fields]:
    return [_found(), _images(), _mining(sources), _labels(), _targets()]


def _more() -> list[Fields]:
    return [_starts(), _more_mining(), _more_labels(), _more_training(), _models()]


def _found() -> Fields:
    return Fields(title=_("What to find"), shown=True, fields=[
        Field(key="description", label=_("Description"), kind="long"),
        Field(key="classes", label=_("Classes"), kind="lines", needed=True,
              hint=_("One a line, in this order for ever")),
    ])  # fmt: skip


def _images() -> Fields:
    return Fields(title=_("Images"), shown=True, fields=[
        Field(key="sources.pool", label=_("Pool"), needed=True,
              hint=_("Images to pick from: a zip or a folder in the sharing folder")),
        Field(key="sources.training", label=_("Training"),
              hint=_("Labelled images to start from; without, the first are drawn")),
        Field(key="sources.validation", label=_("Validation"),
              hint=_("Labelled images to measure on")),
        Field(key="test_sets", label=_("Frozen test sets"), kind="lines",
              hint=_("Names, one a line; targets go by them")),
    ])  # fmt: skip


def _mining(sources: Sources) -> Fields:
    from mir_ops.mining.registry import strategies

    known = [each.name for each in sources.catalog.executors.list()] if sources.catalog else []
    return Fields(title=_("Training and mining"), shown=True, fields=[
        Field(key="executor.name", label=_("Executor"), needed=True,
              options=[*dict.fromkeys([*known, "detector", "torchvision"])]),
        Field(key="mining.strategy", label=_("Mining strategy"), options=[*strategies()],
              hint=_("How images are picked")),
        Field(key="mining.budget", label=_("Budget of a round"), kind="number", least=1),
        Field(key="mining.unit", label=_("Budget counts"), kind="select",
              options=["images", "boxes"]),
        Field(key="mining.control", label=_("Drawn at random"), kind="number", least=0,
              most=0.5, step="0.01", hint=_("Share of the budget that measures mining")),
    ])  # fmt: skip


def _labels() -> Fields:
    return Fields(title=_("Labels"), shown=True, fields=[
        Field(key="labels.backend", label=_("Label tool"), kind="select",
              options=[*LABEL_BACKENDS, *sorted(entry_points(group=ADDED_BACKENDS).names)]),
        Field(key="labels.annotators", label=_("Annotators"), kind="lines",
              hint=_("E-mail addresses, one a line")),
        Field(key="labels.guide", label=_("Label guide"),
              hint=_("A file in the sharing folder, or the address of a page")),
    ])  # fmt: skip


def _targets() -> Fields:
    return Fields(title=_("Targets"), shown=True, fields=[
        Field(key="stop.metric", label=_("Measured by"), kind="select",
              options=["map50", "map50_95"]),
        Field(key="stop.target", label=_("Accuracy"), kind="number", least=0, most=1,
              step="0.001", hint=_("The metric to reach, 0 to 1")),
        Field(key="stop.rounds", label=_("Rounds"), kind="number", least=1),
        Field(key="stop.labelled_images", label=_("Labelled images"), kind="number", least=1),
        Field(key="stop.labelled_boxes", label=_("Labelled boxes"), kind="number", least=1),
        Field(key="stop.plateau.rounds", label=_("Plateau: rounds"), kind="number", least=1,
              hint=_("Stop when the last so many rounds…")),
        Field(key="stop.plateau.gain", label=_("Plateau: gain"), kind="number", least=0,
              step="0.001", hint=_("…together gained less than this")),
    ])  # fmt: skip


def _starts() -> Fields:
    return Fields(title=_("When rounds start"), fields=[
        Field(key="schedule.cron", label=_("Schedule"),
              hint=_("Minute, hour, day, month, weekday, in UTC")),
        Field(key="schedule.new_data", label=_("When data comes in"), kind="check"),
        Field(key="schedule.new_labels", label=_("When so many images more are labelled"),
              kind="number", least=1),
        Field(key="schedule.continuous", label=_("When a round closes, until a target is met"),
              kind="check"),
        Field(key="train_after_merge", label=_("Train on the round's own labels"),
              kind="check"),
    ])  # fmt: skip


def _more_mining() -> Fields:
    return Fields(title=_("More about the pool and mining"), fields=[
        Field(key="pool.attributes", label=_("Attributes that images must have"),
              kind="lines", hint=_("key or key=value, one a line")),
        Field(key="pool.exclude_attributes", label=_("Attributes that they must not have"),
              kind="lines"),
        Field(key="pool.least_width", label=_("Least width"), kind="number", least=1),
        Field(key="pool.least_height", label=_("Least height"), kind="number", least=1),
        Field(key="pool.sample", label=_("Draw so many for a round"), kind="number", least=1),
        Field(key="mining.exclude", label=_("Never again"), kind="select",
              options=["dedup", "chunk", "none"],
              hint=_("dedup: label an image; chunk: look at one; none: neither")),
        Field(key="mining.parameters", label=_("Parameters of the strategy"), kind="pairs"),
        Field(key="mining.quotas", label=_("Quotas"), kind="pairs",
              hint=_("class: least number of images in which it was found")),
        Field(key="mining.per_source", label=_("Most images of one source"), kind="number",
              least=1),
        Field(key="mining.source", label=_("What a source is"),
              options=["group_id", "parent_id"]),
        Field(key="mining.shard_size", label=_("Images for one task"), kind="number", least=1),
    ])  # fmt: skip


def _more_labels() -> Fields:
    return Fields(title=_("More about labels"), fields=[
        Field(key="labels.classes", label=_("Classes to label"), kind="lines",
              hint=_("None named is all")),
        Field(key="labels.shapes", label=_("Shapes"), kind="choices",
              options=["box", "rotated_box", "polygon", "mask"]),
        Field(key="labels.confidence", label=_("Show what the model sees from"),
              kind="number", least=0, most=1, step="0.01"),
        Field(key="labels.timeout_days", label=_("Days to wait"), kind="number", least=0,
              step="any"),
        Field(key="labels.poll_seconds", label=_("Seconds between questions to the tool"),
              kind="number", least=0, step="any"),
    ])  # fmt: skip


def _more_training() -> Fields:
    limits = {
        "time_seconds": _("Seconds"), "memory_bytes": _("Memory, bytes"),
        "disk_bytes": _("Disk, bytes"), "cpus": _("CPUs"), "pids": _("Processes"),
        "gpus": _("GPUs"), "shm_bytes": _("Shared memory, bytes"),
    }  # fmt: skip
    workers = {
        "train.queue": _("Queue of trainings"), "train.pool": _("Pool of trainings"),
        "infer.queue": _("Queue of inference and mining"),
        "infer.pool": _("Pool of inference and mining"),
    }  # fmt: skip
    return Fields(title=_("More about training"), fields=[
        Field(key="pretrained", label=_("Pretrained model"),
              hint=_("Every training starts from it: id, id@stage or name")),
        Field(key="model", label=_("First model"),
              hint=_("The first round takes it instead of training one")),
        Field(key="executor.config.train", label=_("Settings for training"), kind="pairs"),
        Field(key="executor.config.infer", label=_("Settings for inference"), kind="pairs"),
        *(Field(key=f"executor.limits.{name}", label=label, kind="number",
                least=0, step="any" if name in ("time_seconds", "cpus") else "1")
          for name, label in limits.items()),
        *(Field(key=f"executor.workers.{name}", label=label,
                hint=_("As the deployment names it; empty: its own"))
          for name, label in workers.items()),
        Field(key="seed", label=_("Seed"), kind="number", least=0),
    ])  # fmt: skip


def _models() -> Fields:
    return Fields(title=_("Models and people"), fields=[
        Field(key="promote", label=_("Name that the newest model gets"),
              hint=_("Such as production; an admin's to say")),
        Field(key="approve_model", label=_("Not before a person says so"), kind="check"),
        Field(key="notify", label=_("Who is told"), kind="lines",
              hint=_("Names that the deployment knows")),
        Field(key="tags", label=_("Tags"), kind="lines"),
        Field(key="owners", label=_("Owners"), kind="lines"),
        Field(key="gates.parameters", label=_("Values for rules of gates"), kind="pairs"),
    ])  # fmt: skip


def _defaults() -> dict[str, Any]:
    """What a project has that says only what it must."""
    least = {"name": "x", "classes": ["x"], "sources": {"pool": "x"}, "executor": {"name": "x"}}
    kept = ProjectSpec.model_validate(least).to_mapping()
    return {**kept, "classes": [], "sources": {}, "executor": {"name": "detector"}}


def _at(mapping: Mapping[str, Any], key: str) -> Any:
    found: Any = mapping
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _plain(value: object) -> str:
    """As it is read back: a text that would be read as something else keeps its quotes."""
    if isinstance(value, str):
        try:
            json.loads(value)
        except ValueError:
            return value
    return json.dumps(value, ensure_ascii=False)
