"""Rounds beside each other: what each left of data, and two of them in everything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from mir_ops.catalog import Project
from mir_ops.console.messages import _
from mir_ops.console.rounds.views import RoundView
from mir_ops.console.sources import Sources
from mir_ops.errors import NotFoundError
from mir_ops.rounds.comparing import compare_rounds
from mir_ops.store import Store
from mir_ops.store.commits import LayerStats, Stats

AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A measure with its value in each round; `most` is the largest."""

    name: str
    values: tuple[int | None, ...]

    @property
    def most(self) -> int:
        return max((value or 0 for value in self.values), default=0) or 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide:
    """Images, boxes and boxes of each class in the training set at the end of some rounds."""

    rounds: tuple[int, ...]
    sizes: tuple[Row, ...]
    classes: tuple[Row, ...]
    before: int | None  # the newest round that is not shown and older
    after: int | None


def side_by_side(
    store: Store, rounds: Sequence[RoundView], until: int | None = None
) -> SideBySide | None:
    """The last rounds up to `until` that left a training set; their commits say the counts."""
    made = [turn for turn in rounds if turn.grown or turn.training]
    upto = [turn for turn in made if until is None or turn.number <= until]
    shown = upto[-AT_ONCE:]
    stats = [stats_of(store, turn.grown or turn.training or "") for turn in shown]
    if not shown:
        return None
    following = made[len(upto) : len(upto) + AT_ONCE]
    return SideBySide(
        rounds=tuple(turn.number for turn in shown),
        sizes=tuple(_sizes(stats)),
        classes=tuple(_classes(store, stats)),
        before=upto[-AT_ONCE - 1].number if len(upto) > AT_ONCE else None,
        after=following[-1].number if following else None,
    )


def _sizes(stats: Sequence[Stats | None]) -> Iterator[Row]:
    for name in dict.fromkeys(name for each in stats if each for name in each.splits):
        yield Row(
            name=_("Images in %(split)s", split=name) if name else _("Images of no split"),
            values=tuple(each.splits.get(name, 0) if each else None for each in stats),
        )
    truths = [_truth(each) for each in stats]
    yield Row(
        name=_("Labelled images"), values=tuple(each.assets if each else None for each in truths)
    )
    yield Row(name=_("Boxes"), values=tuple(each.rows if each else None for each in truths))


def _classes(store: Store, stats: Sequence[Stats | None]) -> Iterator[Row]:
    """Boxes of each class."""
    names = {class_id: name for name, class_id in store.classes().items()}
    truths = [_truth(each) for each in stats]
    for class_id in sorted({class_id for each in truths if each for class_id in each.classes}):
        yield Row(
            name=names.get(class_id, str(class_id)),
            values=tuple(each.classes.get(class_id, 0) if each else None for each in truths),
        )


def _truth(stats: Stats | None) -> LayerStats | None:
    """The ground truth's counts: none at all in a version without labels."""
    return stats.layers.get("ground_truth", LayerStats()) if stats else None


def stats_of(store: Store, commit_id: str) -> Stats | None:
    """The counts of a version; None where it is gone."""
    try:
        return _stats_of(store, commit_id)
    except NotFoundError:
        return None


@lru_cache(maxsize=4096)
def _stats_of(store: Store, commit_id: str) -> Stats:
    return store.commit(commit_id).stats


def compare_page(sources: Sources, project: Project, first: int, second: int) -> dict[str, Any]:
    """Two closed rounds: metrics, data, classes, cost, and the settings that differ."""
    found = compare_rounds(sources.workspace, project.key, first, second)
    parts = {
        _("Metrics"): found.metrics,
        _("Training data at the end"): found.data,
        _("Boxes of each class"): found.classes,
        _("Cost"): found.cost,
        _("Settings that differ"): found.settings,
    }
    return {
        "project": project,
        "first": first,
        "second": second,
        "parts": {
            title: [
                {"name": name, "values": (_told(one), _told(other)), "change": change(one, other)}
                for name, (one, other) in pairs.items()
            ]
            for title, pairs in parts.items()
            if pairs
        },
    }


def _told(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def change(one: object, other: object) -> str:
    """The difference of two numbers, for people; empty where there is none."""
    numbers = [each for each in (one, other) if isinstance(each, int | float)]
    if len(numbers) < 2 or bool in map(type, numbers) or one == other:
        return ""
    gained = numbers[1] - numbers[0]
    return f"{gained:+d}" if isinstance(gained, int) else f"{gained:+.3f}"
