"""What every label tool is to a round: create a task, ask how far it is, fetch, close."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRequest:
    """The images that a round wants labelled. `key` is the same for every try of a request."""

    key: str
    title: str
    classes: Mapping[int, str]  # id to name, in the project's order
    assets: pa.Table  # schema.ASSETS
    predictions: pa.Table  # schema.PREDICTIONS: what the model sees, as a start
    fetch_image: Callable[[str, Path], None] = field(repr=False)  # asset id in hex, where to

    @property
    def asset_ids(self) -> list[str]:
        return sorted(asset_id.hex() for asset_id in self.assets["asset_id"].to_pylist())


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelProgress:
    """How far people are. A task with no images at all is lost, not complete."""

    total: int
    done: int
    skipped: int = 0
    last_activity: datetime | None = None
    message: str = ""

    @property
    def complete(self) -> bool:
        return self.total > 0 and self.done + self.skipped >= self.total


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelResult:
    """What was labelled so far. An image in `done` without annotations has nothing on it."""

    annotations: pa.Table  # schema.GROUND_TRUTH, with the ids of the request's classes
    done: pa.Array
    skipped: pa.Array
    issues: Mapping[str, int] = field(default_factory=dict)  # what was not taken, and how often


class LabelBackend(Protocol):
    """A label tool. Every method may be called again: it answers, and does nothing twice."""

    @property
    def kind(self) -> str: ...

    def create(self, request: LabelRequest) -> str:
        """Ask for labels; the same request's key gives the same task."""

    def progress(self, task_id: str) -> LabelProgress:
        """How far the task is; `NotFoundError` when the tool no longer has it."""

    def fetch(self, task_id: str) -> LabelResult:
        """What is done, also before everything is."""

    def close(self, task_id: str) -> None:
        """Nobody needs to label any more."""
