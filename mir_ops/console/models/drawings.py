"""Curves as SVG: many points, two small axes; the script of the page moves what has an id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from mir_ops.console.charts import nice_ticks, number_text

WIDTH, HEIGHT = 560, 320
LEFT, RIGHT, TOP, BOTTOM = 52, 18, 26, 44
_WIDE, _HIGH = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
_PLANE = f"{LEFT} {TOP} {_WIDE} {_HIGH}"  # for the script: where 0 and 1 of both axes are


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A curve through its points, in their order."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Axis:
    """What is along it, and where its first and last tick are."""

    name: str
    ticks: Sequence[float]

    @classmethod
    def over(cls, name: str, values: Sequence[float]) -> Axis:
        return cls(name, nice_ticks(min(values), max(values)))

    def share(self, value: float) -> float:
        """How far along the axis a value lies, from 0 to 1."""
        low, high = self.ticks[0], self.ticks[-1]
        return (value - low) / (high - low)


def curve_chart(
    lines: Sequence[Line], *, title: str, x: Axis, y: Axis, movable: bool = False
) -> Markup:
    """Lines in one plane. With `movable` the first has a mark that a script may move."""
    body = [_horizontal(y, tick) for tick in y.ticks]
    body += [_vertical(x, tick) for tick in x.ticks]
    body.append(_names(x, y))
    for index, line in enumerate(lines):
        body.append(_line(line, index, x, y, movable=movable and index == 0))
    if movable:
        body.append(Markup('<circle class="mark s0" r="6" cx="-20" cy="-20"/>'))
    key = Markup('<li class="s{}"><i></i>{}</li>')
    legend = Markup("").join(key.format(index, line.name) for index, line in enumerate(lines))
    return Markup(
        '<figure class="chart curve"><figcaption>{}<ul class="legend">{}</ul></figcaption>'
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}" data-plane="{}">{}</svg></figure>'
    ).format(title, legend, WIDTH, HEIGHT, title, _PLANE, Markup("").join(body))


def _spot(x: Axis, y: Axis, point: tuple[float, float]) -> str:
    across = LEFT + x.share(point[0]) * _WIDE
    up = TOP + (1 - y.share(point[1])) * _HIGH
    return f"{across:.1f},{up:.1f}"


def _line(line: Line, index: int, x: Axis, y: Axis, *, movable: bool) -> Markup:
    path = " ".join(_spot(x, y, point) for point in line.points)
    name = Markup(' data-movable=""') if movable else ""
    return Markup('<polyline class="line s{}"{} points="{}"><title>{}</title></polyline>').format(
        index, name, path, line.name
    )


def _horizontal(y: Axis, tick: float) -> Markup:
    at = round(TOP + (1 - y.share(tick)) * _HIGH, 1)
    return Markup(
        '<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>'
        '<text class="tick" x="{}" y="{}" text-anchor="end">{}</text>'
    ).format(LEFT, WIDTH - RIGHT, at, at, LEFT - 8, at + 4, number_text(tick))


def _vertical(x: Axis, tick: float) -> Markup:
    at = round(LEFT + x.share(tick) * _WIDE, 1)
    return Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>').format(
        at, HEIGHT - BOTTOM + 18, number_text(tick)
    )


def _names(x: Axis, y: Axis) -> Markup:
    text = Markup('<text class="axis" x="{}" y="{}"{}>{}</text>')
    right = Markup(' text-anchor="end"')
    return text.format(0, 12, "", y.name) + text.format(WIDTH - RIGHT, HEIGHT - 6, right, x.name)
