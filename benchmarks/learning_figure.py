"""All curves of a run in one picture: a column for each pool and length, by images and by boxes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

from learning_cells import CONTROL
from learning_curves import Group, points

from mir_ops.mining.worth import Point

_COLOURS: Final = ("#888", "#d1495b", "#2e86ab", "#3a7d44", "#b8860b", "#7b4b94", "#008080", "#555")
_WIDE, _TALL, _LEFT, _TOP, _GAP = 190, 150, 46, 44, 56


@dataclass(frozen=True, slots=True, kw_only=True)
class _Panel:
    """Where it is, and what its axes span."""

    x: float
    y: float
    what: str  # images or boxes
    curves: Mapping[str, Sequence[Point]]

    @property
    def across(self) -> tuple[float, float]:
        found = [float(getattr(p, self.what)) for curve in self.curves.values() for p in curve]
        return min(found), max(found)

    @property
    def up(self) -> tuple[float, float]:
        every = [point for curve in self.curves.values() for point in curve]
        return min(p.lowest for p in every), max(p.highest for p in every)

    def right(self, value: float) -> float:
        low, high = self.across
        return round(self.x + (value - low) / (high - low or 1) * _WIDE, 1)

    def down(self, value: float) -> float:
        low, high = self.up
        return round(self.y + _TALL - (value - low) / (high - low or 1) * _TALL, 1)


def write_figure(groups: Sequence[Group], path: Path, test: str) -> bool:
    """An SVG of those groups of which a strategy has a whole seed; False where none has.

    Lines are means over the seeds, bars the lowest and the highest.
    """
    shown = [(group, _curves(group, test)) for group in groups]
    shown = [(group, curves) for group, curves in shown if len(curves) > 1]
    if not shown:
        return False
    names = list(dict.fromkeys(name for _, curves in shown for name in curves))
    colours = {name: _COLOURS[n % len(_COLOURS)] for n, name in enumerate(names)}
    width = _LEFT + len(shown) * (_WIDE + _GAP)
    height = _TOP + 2 * (_TALL + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        *_legend(colours),
    ]
    for column, (group, curves) in enumerate(shown):
        x = _LEFT + column * (_WIDE + _GAP)
        parts.append(f'<text x="{x}" y="{_TOP - 8}" font-weight="bold">{escape(group.name)}</text>')
        for row, what in enumerate(("images", "boxes")):
            y = _TOP + row * (_TALL + _GAP)
            parts += _drawn(_Panel(x=x, y=y, what=what, curves=curves), colours)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*parts, "</svg>", ""]), encoding="utf-8")
    return True


def _curves(group: Group, test: str) -> dict[str, tuple[Point, ...]]:
    """Of each strategy over the seeds that it has as a whole, and random over all of these."""
    whole = {name: group.whole(name) for name in group.strategies if group.whole(name)}
    seeds = sorted({seed for those in whole.values() for seed in those})
    every = {CONTROL: seeds, **whole} if whole else {}
    return {name: points(group, name, those, test) for name, those in every.items()}


def _legend(colours: Mapping[str, str]) -> Iterator[str]:
    x = _LEFT
    for name, colour in colours.items():
        yield f'<text x="{x}" y="16" fill="{colour}" font-weight="bold">{escape(name)}</text>'
        x += 8 * len(name) + 16


def _drawn(panel: _Panel, colours: Mapping[str, str]) -> Iterator[str]:
    bottom = panel.y + _TALL
    yield f'<path d="M{panel.x} {panel.y}V{bottom}H{panel.x + _WIDE}" fill="none" stroke="#999"/>'
    for value, anchor in zip(panel.across, ("start", "end"), strict=True):
        x = panel.right(value)
        yield f'<text x="{x}" y="{bottom + 14}" text-anchor="{anchor}">{value:.0f}</text>'
    middle = panel.x + _WIDE / 2
    yield f'<text x="{middle}" y="{bottom + 14}" text-anchor="middle">{panel.what}</text>'
    for value in panel.up:
        y = panel.down(value) + 4
        yield f'<text x="{panel.x - 4}" y="{y:.1f}" text-anchor="end">{value:.2f}</text>'
    for name, curve in panel.curves.items():
        places = [(panel.right(float(getattr(p, panel.what))), p) for p in curve]
        line = " ".join(f"{x},{panel.down(p.map50)}" for x, p in places)
        bars = "".join(f"M{x} {panel.down(p.lowest)}V{panel.down(p.highest)}" for x, p in places)
        colour = colours[name]
        yield f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>'
        yield f'<path d="{bars}" stroke="{colour}"/>'
