"""What the pages of projects are given, and the API: where each project stands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mir_ops.catalog import Catalog, Project, ProjectSpec
from mir_ops.catalog.overviews import RoundLine
from mir_ops.console.rounds.views import RoundView, round_view
from mir_ops.rounds.targets import judged


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """How far a project is by one measure; `what` is the key of its target in `stop`.

    `metric` says which, of the target of accuracy.
    """

    what: str
    current: float | None
    target: float | None
    metric: str | None = None

    @property
    def share(self) -> int:
        """Of the target, in hundredths."""
        if not self.target or self.current is None:
            return 0
        return max(0, min(100, int(100 * self.current / self.target)))

    @property
    def reached(self) -> bool:
        return bool(self.target) and self.current is not None and self.current >= (self.target or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A project's targets against where it is, and its newest round."""

    key: str
    name: str
    description: str
    classes: int
    tags: tuple[str, ...]
    starts: tuple[str, ...]  # what starts rounds by itself
    goals: tuple[Goal, ...]
    round: RoundView | None
    deleted_at: datetime | None

    def matches(self, words: str) -> bool:
        """Whether every word is in its name, description or tags."""
        text = " ".join([self.key, self.name, self.description, *self.tags]).lower()
        return all(word in text for word in words.lower().split())


def standings(catalog: Catalog, projects: Iterable[Project]) -> list[Standing]:
    """Where these projects stand: a few questions to the catalog, none to the store."""
    newest = catalog.overviews.newest()
    return [standing(project, newest.get(project.id, ())) for project in projects]


def standing(project: Project, rounds: Sequence[RoundLine]) -> Standing:
    """Of the newest rounds of a project, oldest first."""
    spec = project.spec
    return Standing(
        key=project.key,
        name=project.name,
        description=spec.description,
        classes=len(spec.classes),
        tags=spec.tags,
        starts=tuple(_starts(spec)),
        goals=_goals(spec, rounds),
        round=round_view(rounds[-1], spec) if rounds else None,
        deleted_at=project.deleted_at,
    )


def _starts(spec: ProjectSpec) -> Iterator[str]:
    schedule = spec.schedule.model_dump()
    yield from (name for name, value in schedule.items() if value)


def _goals(spec: ProjectSpec, rounds: Sequence[RoundLine]) -> tuple[Goal, ...]:
    stop, sizes = spec.stop, _labelled(rounds)
    closed = max((line.number for line in rounds if line.state == "closed"), default=0)
    return (
        Goal(
            what="target", current=_reached(spec, rounds), target=stop.target, metric=stop.metric
        ),
        Goal(what="rounds", current=closed, target=stop.rounds),
        Goal(
            what="labelled_images", current=sizes.get("images"), target=stop.labelled_images
        ),
        Goal(what="labelled_boxes", current=sizes.get("boxes"), target=stop.labelled_boxes),
    )  # fmt: skip


def _reached(spec: ProjectSpec, rounds: Sequence[RoundLine]) -> float | None:
    """What the newest model reached, on what the target goes by."""
    for line in reversed(rounds):
        for step in ("evaluate_last", "evaluate"):
            found = line.left(step)
            if spec.stop.metric in found:
                return judged(spec, {"tests": {}, **found})
    return None


def _labelled(rounds: Sequence[RoundLine]) -> Mapping[str, Any]:
    """The newest count of what is labelled for training."""
    for line in reversed(rounds):
        for step in ("check_end", "check_targets"):
            if found := line.left(step).get("labelled"):
                counted: Mapping[str, Any] = found
                return counted
    return {}
