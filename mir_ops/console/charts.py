"""Line and bar charts as SVG: pure functions, no script, no inline style, readable aloud."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from mir_ops.console.messages import _

_WIDTH, _HEIGHT = 1120, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 28, 24, 52
_EMPTY = Markup('<p class="empty">{}</p>')


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A line: points as (x, y), each with the text a person sees when pointing at it.

    `ranges` are the lowest and the highest y of each point, drawn as strokes.
    """

    name: str
    points: Sequence[tuple[float, float]]
    notes: Sequence[str] = ()
    ranges: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Whisker:
    """A value with its interval, and the text a person sees when pointing at it."""

    label: str
    value: float
    low: float
    high: float
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A group of bars of one label, one for each series of the chart."""

    label: str
    values: Sequence[float]


def nice_ticks(low: float, high: float, *, count: int = 5) -> list[float]:
    """About `count` round numbers that cover `low` to `high`: steps of 1, 2 or 5 tens."""
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"Axis limits must be finite: {low}, {high}")
    if high <= low:
        high = low + (abs(low) or 1.0)
    rough = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 10) for index in range(first, last + 1)]


def number_text(value: float) -> str:
    """`1 200`, `0.25`: a thin space between thousands, no trailing zeros."""
    if value == int(value):
        return f"{int(value):,}".replace(",", "\u202f")
    return f"{value:.4f}".rstrip("0")


def line_chart(
    series: Sequence[Series], *, title: str, x_label: str, y_label: str, y_top: float | None = None
) -> Markup:
    """Lines over a common axis that starts at 0, so that small gains do not look large."""
    lines = [line for line in series if line.points]
    if not lines:
        return _EMPTY.format(_("Nothing to draw yet"))
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    ys += [high for line in lines for _, high in line.ranges]
    margin = (max(xs) - min(xs)) * 0.05
    x_ticks = nice_ticks(max(0.0, min(xs) - margin), max(xs) + margin)
    y_ticks = nice_ticks(0.0, max(*ys, 0.0) * 1.1 or 1.0)
    if y_top is not None:
        y_ticks = [tick for tick in y_ticks if tick <= y_top]
    plane = _Plane(x_ticks, y_ticks)
    body = [plane.y_axis(y_label), plane.x_axis(x_label)]
    body += [_strokes(plane, line, index, len(lines)) for index, line in enumerate(lines)]
    body += [_line(plane, line, index) for index, line in enumerate(lines)]
    description = "; ".join(
        f"{line.name}: " + ", ".join(f"{y:.3g} at {number_text(x)}" for x, y in line.points)
        for line in lines
    )
    return _figure(title, description, body, [line.name for line in lines])


def bar_chart(bars: Sequence[Bar], *, names: Sequence[str], title: str, y_label: str) -> Markup:
    """Bars in groups, one bar of each name in a group, from 0."""
    if not bars:
        return _EMPTY.format(_("Nothing to draw yet"))
    plane = _Plane([0, 1], nice_ticks(0.0, max(max(bar.values) for bar in bars) or 1.0))
    body = [plane.y_axis(y_label)]
    body += [_bar_group(plane, bars, index, names) for index in range(len(bars))]
    description = "; ".join(
        f"{bar.label}: "
        + ", ".join(
            f"{name} {number_text(value)}" for name, value in zip(names, bar.values, strict=True)
        )
        for bar in bars
    )
    return _figure(title, description, body, names)


def whisker_chart(whiskers: Sequence[Whisker], *, title: str, x_label: str, y_label: str) -> Markup:
    """Values with their intervals beside each other, and a line at zero."""
    if not whiskers:
        return _EMPTY.format(_("Nothing to draw yet"))
    low, high = min(each.low for each in whiskers), max(each.high for each in whiskers)
    plane = _Plane([0, len(whiskers)], nice_ticks(min(low, 0.0), max(high, 0.0)))
    zero = Markup('<line class="zero" x1="{}" x2="{}" y1="{}" y2="{}"/>')
    body = [plane.y_axis(y_label), plane.x_name(x_label)]
    body += [zero.format(_LEFT, _WIDTH - _RIGHT, plane.y(0), plane.y(0))]
    shown = max(1, math.ceil(len(whiskers) / 40))
    for index, each in enumerate(whiskers):
        body.append(_whisker(plane, each, plane.x(index + 0.5), named=index % shown == 0))
    description = "; ".join(each.note for each in whiskers)
    return _figure(title, description, body, [])


class _Plane:
    """Maps numbers to the drawing area."""

    def __init__(self, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> None:
        self.x_ticks, self.y_ticks = x_ticks, y_ticks

    def x(self, value: float) -> float:
        low, high = self.x_ticks[0], self.x_ticks[-1]
        return round(_LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        low, high = self.y_ticks[0], self.y_ticks[-1]
        height = _HEIGHT - _TOP - _BOTTOM
        return round(_TOP + height - (value - low) / (high - low) * height, 1)

    def y_axis(self, label: str) -> Markup:
        line = Markup(
            '<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>'
            '<text class="tick" x="{}" y="{}" text-anchor="end">{}</text>'
        )
        ticks = [
            line.format(
                _LEFT, _WIDTH - _RIGHT, self.y(tick), self.y(tick),
                _LEFT - 10, self.y(tick) + 4, number_text(tick),
            )
            for tick in self.y_ticks
        ]  # fmt: skip
        name = Markup('<text class="axis" x="0" y="12">{}</text>').format(label)
        return Markup("").join([*ticks, name])

    def x_axis(self, label: str) -> Markup:
        text = Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>')
        bottom = _HEIGHT - _BOTTOM
        ticks = [text.format(self.x(tick), bottom + 20, number_text(tick)) for tick in self.x_ticks]
        return Markup("").join([*ticks, self.x_name(label)])

    def x_name(self, label: str) -> Markup:
        name = Markup('<text class="axis" x="{}" y="{}" text-anchor="end">{}</text>')
        return name.format(_WIDTH - _RIGHT, _HEIGHT - 6, label)


def _line(plane: _Plane, line: Series, index: int) -> Markup:
    spots = [(plane.x(x), plane.y(y)) for x, y in line.points]
    path = Markup('<polyline class="line s{}" points="{}"/>').format(
        index, " ".join(f"{x},{y}" for x, y in spots)
    )
    dot = Markup('<g class="spot s{}"><circle cx="{}" cy="{}" r="5"/><title>{}</title></g>')
    value = Markup('<text class="value" x="{}" y="{}" text-anchor="middle">{:.3f}</text>')
    notes = line.notes or [f"{line.name} {y:.3f}" for _, y in line.points]
    dots = [dot.format(index, x, y, note) for (x, y), note in zip(spots, notes, strict=True)]
    # Values are written for one line only, and not over strokes: they would cover each other.
    texts = [
        value.format(x, y - 12, point[1])
        for (x, y), point in zip(spots, line.points, strict=True)
        if index == 0 and not line.ranges
    ]
    return Markup("").join([path, *dots, *texts])


def _whisker(plane: _Plane, whisker: Whisker, x: float, *, named: bool) -> Markup:
    stroke = Markup('<line class="range s0" x1="{}" x2="{}" y1="{}" y2="{}"/>')
    dot = Markup('<g class="spot s0"><circle cx="{}" cy="{}" r="5"/><title>{}</title></g>')
    text = Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>')
    parts = [
        stroke.format(x, x, plane.y(whisker.low), plane.y(whisker.high)),
        dot.format(x, plane.y(whisker.value), whisker.note),
    ]
    if named:
        parts.append(text.format(x, _HEIGHT - _BOTTOM + 20, whisker.label))
    return Markup("").join(parts)


def _strokes(plane: _Plane, line: Series, index: int, lines: int) -> Markup:
    """From the lowest to the highest of each point, those of several lines beside each other."""
    stroke = Markup('<line class="range s{}" x1="{}" x2="{}" y1="{}" y2="{}"/>')
    aside = (index - (lines - 1) / 2) * 5
    places = [plane.x(x) + aside for x, _ in line.points]
    pairs = zip(places, line.ranges, strict=True) if line.ranges else ()
    return Markup("").join(
        stroke.format(index, x, x, plane.y(low), plane.y(high)) for x, (low, high) in pairs
    )


def _bar_group(plane: _Plane, bars: Sequence[Bar], index: int, names: Sequence[str]) -> Markup:
    bar = bars[index]
    room = (_WIDTH - _LEFT - _RIGHT) / len(bars)
    width = min(28.0, room * 0.72 / max(1, len(bar.values)))
    left = _LEFT + room * (index + 0.5) - width * len(bar.values) / 2
    shape = Markup(
        '<g class="bar s{}"><rect x="{}" y="{}" width="{}" height="{}" rx="2"/>'
        "<title>{} {}: {}</title></g>"
    )
    parts = [
        shape.format(
            place, round(left + place * width, 1), plane.y(value), round(width * 0.9, 1),
            round(plane.y(0) - plane.y(value), 1), bar.label, names[place], number_text(value),
        )
        for place, value in enumerate(bar.values)
    ]  # fmt: skip
    label = Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>')
    # Names that would run into each other are left to the tooltip.
    if index % max(1, math.ceil(len(bars) / 24)) == 0:
        shown = bar.label if len(bar.label) * 7 < room else bar.label[: max(1, int(room / 7))] + "…"
        parts.append(
            label.format(round(left + width * len(bar.values) / 2, 1), _HEIGHT - 30, shown)
        )
    return Markup("").join(parts)


def _figure(title: str, description: str, body: Sequence[Markup], names: Sequence[str]) -> Markup:
    key = Markup('<li class="s{}"><i></i>{}</li>')
    legend = Markup("").join(key.format(index, name) for index, name in enumerate(names))
    return Markup(
        '<figure class="chart"><figcaption>{}<ul class="legend">{}</ul></figcaption>'
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}"><desc>{}</desc>{}</svg></figure>'
    ).format(title, legend, _WIDTH, _HEIGHT, title, description, Markup("").join(body))
