"""The graph of versions as one small SVG for each line of a list: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

LANES: Final = 10  # what would lie further right is drawn in the last one
_WIDTH, _HEIGHT = 14, 56
_COLOURS: Final = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A version's place: its lane, the lanes that pass by, those that end here and begin here."""

    lane: int
    passing: tuple[int, ...]
    ending: tuple[int, ...]  # from above into this version
    beginning: tuple[int, ...]  # from this version downwards
    lanes: int


def rows(parents: Iterable[tuple[str, Sequence[str]]], wanted: range) -> list[Row]:
    """Places of the versions number `wanted`, given all versions, each before its parents."""
    found: list[Row] = []
    awaited: list[str | None] = []
    for number, (commit, above) in enumerate(parents):
        if number >= wanted.stop:
            break
        ending = tuple(lane for lane, other in enumerate(awaited) if other == commit)
        lane = ending[0] if ending else _free(awaited)
        for ended in ending:
            awaited[ended] = None
        passing = tuple(place for place, other in enumerate(awaited) if other is not None)
        beginning = tuple(_await(awaited, lane, parent) for parent in above)
        while awaited and awaited[-1] is None:
            awaited.pop()
        if number >= wanted.start:
            used = (lane, *passing, *ending, *beginning)
            found.append(
                Row(
                    lane=lane,
                    passing=passing,
                    ending=ending,
                    beginning=beginning,
                    lanes=min(LANES, max(used) + 1),
                )
            )
    return found


def drawing(row: Row, width: int) -> Markup:
    """The lines and the dot of one row, `width` lanes wide."""
    here, middle = _x(row.lane), _HEIGHT / 2
    line = Markup('<path class="s{}" d="{}"/>')
    parts = [line.format(_colour(lane), f"M{_x(lane)} 0V{_HEIGHT}") for lane in row.passing]
    parts += [line.format(_colour(lane), _curve(_x(lane), 0, here, middle)) for lane in row.ending]
    parts += [
        line.format(_colour(lane), _curve(here, middle, _x(lane), _HEIGHT))
        for lane in row.beginning
    ]
    dot = Markup('<circle class="s{}" cx="{}" cy="{}" r="4.5"/>')
    parts.append(dot.format(_colour(row.lane), here, f"{middle:g}"))
    size = width * _WIDTH
    return Markup(
        '<svg class="lanes" viewBox="0 0 {} {}" width="{}" height="{}" aria-hidden="true">{}</svg>'
    ).format(size, _HEIGHT, size, _HEIGHT, Markup("").join(parts))


def _free(awaited: list[str | None]) -> int:
    if None in awaited:
        return awaited.index(None)
    awaited.append(None)
    return len(awaited) - 1


def _await(awaited: list[str | None], lane: int, parent: str) -> int:
    """The lane in which a parent is waited for: the version's own if that is free.

    Another one may wait for it as well: the lines meet at the parent.
    """
    while len(awaited) <= lane:
        awaited.append(None)
    if awaited[lane] is None:
        place = lane
    elif parent in awaited:
        return awaited.index(parent)
    else:
        place = _free(awaited)
    awaited[place] = parent
    return place


def _x(lane: int) -> int:
    return min(lane, LANES - 1) * _WIDTH + _WIDTH // 2


def _colour(lane: int) -> int:
    return min(lane, LANES - 1) % _COLOURS


def _curve(x: float, y: float, to_x: float, to_y: float) -> str:
    if x == to_x:
        return f"M{x:g} {y:g}V{to_y:g}"
    middle = (y + to_y) / 2
    return f"M{x:g} {y:g}C{x:g} {middle:g} {to_x:g} {middle:g} {to_x:g} {to_y:g}"
