"""What every label tool is to a round: create a task, ask how far it is, fetch, close."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageAddresses:
    """Where a browser loads images, by asset id in hex; nobody can after `until`."""

    urls: Mapping[str, str]
    until: datetime


FindAddresses = Callable[[Sequence[str]], ImageAddresses]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRequest:
    """The images that a round wants labelled. `key` is the same for every try of a request.

    `shapes` are the kinds of annotation to draw. `guide` is a text, or the URL of a page, for
    the people who label; `annotators` are their e-mail addresses, if they are chosen. Whoever
    posts to `wake_url` says that something was labelled.
    """

    key: str
    title: str
    classes: Mapping[int, str]  # id to name, in the project's order
    assets: pa.Table  # schema.ASSETS
    predictions: pa.Table  # schema.PREDICTIONS: what the model sees, as a start
    fetch_image: Callable[[str, Path], None] = field(repr=False)  # asset id in hex, where to
    find_addresses: FindAddresses | None = field(default=None, repr=False)
    model_id: str = ""
    shapes: tuple[str, ...] = ("box",)
    guide: str = ""
    annotators: tuple[str, ...] = ()
    wake_url: str | None = field(default=None, repr=False)

    @property
    def asset_ids(self) -> list[str]:
        return sorted(asset_id.hex() for asset_id in self.assets["asset_id"].to_pylist())


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelProgress:
    """How far people are. A task with no images at all is lost, not complete.

    `by` counts the images of each annotator, skipped ones included; `page` is where people label,
    if that has an address.
    """

    total: int
    done: int
    skipped: int = 0
    last_activity: datetime | None = None
    message: str = ""
    by: Mapping[str, int] = field(default_factory=dict)
    page: str | None = None

    @property
    def complete(self) -> bool:
        return self.total > 0 and self.done + self.skipped >= self.total

    def __str__(self) -> str:
        said = f"{self.done} of {self.total} images labelled"
        if self.skipped:
            said += f", {self.skipped} skipped"
        if self.by:
            said += ", by " + ", ".join(f"{who} ({count})" for who, count in self.by.items())
        if self.last_activity is not None:
            said += f", last at {self.last_activity:%Y-%m-%d %H:%M} UTC"
        return f"{said}. {self.message}" if self.message else said


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelResult:
    """What was labelled so far. An image in `done` without annotations has nothing on it.

    An image in `refused` was answered in a way that cannot be taken: it is not done, and the
    text says to a person what to change. `seconds` is what people spent on all of it; None where
    the tool does not measure.
    """

    annotations: pa.Table  # schema.GROUND_TRUTH, with the ids of the request's classes
    done: pa.Array
    skipped: pa.Array
    issues: Mapping[str, int] = field(default_factory=dict)  # what was not taken, and how often
    refused: Mapping[str, str] = field(default_factory=dict)  # asset id in hex: why
    seconds: float | None = None


class LabelBackend(Protocol):
    """A label tool. Every method may be called again: it answers, and does nothing twice."""

    @property
    def kind(self) -> str: ...

    def create(self, request: LabelRequest) -> str:
        """Ask for labels; the same request's key gives the same task."""

    def progress(self, task_id: str) -> LabelProgress:
        """How far the task is; `NotFoundError` when the tool no longer has it."""

    def fetch(self, task_id: str, request: LabelRequest) -> LabelResult:
        """What is done of the request, also before everything is."""

    def close(self, task_id: str) -> None:
        """Nobody needs to label any more."""


@runtime_checkable
class ShowsImages(Protocol):
    """A label tool whose users load images from elsewhere, by addresses that do not last."""

    def renew_addresses(self, task_id: str, find_addresses: FindAddresses) -> int:
        """Replace the addresses that end soon; how many were."""
