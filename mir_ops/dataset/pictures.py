"""Histograms as SVG files: no script, nothing loaded, readable aloud and in the dark."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mir_ops.dataset.histograms import Analysis, Histogram

_WIDTH, _LEFT, _RIGHT, _TOP, _ROW = 640, 170, 90, 48, 22
_MOST_BARS = 60
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#222}.t{font-size:16px;font-weight:600}"
    ".n{text-anchor:start}.l{text-anchor:end}rect{fill:#3b6fb6}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}rect{fill:#7aa5e0}}"
)


def write_pictures(analysis: Analysis, folder: Path) -> list[Path]:
    """One SVG file for each histogram and each layer's classes that has something to show."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, picture in _pictures(analysis):
        path = folder / f"{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}.svg"
        path.write_text(picture, encoding="utf-8")
        written.append(path)
    return written


def bars(title: str, labels: Sequence[str], counts: Sequence[int]) -> str:
    """A picture of horizontal bars, one a label."""
    height = _TOP + _ROW * len(counts) + 12
    room = _WIDTH - _LEFT - _RIGHT
    most = max(counts, default=0) or 1
    said = "; ".join(f"{label}: {count}" for label, count in zip(labels, counts, strict=True))
    rows = []
    for number, (label, count) in enumerate(zip(labels, counts, strict=True)):
        top, width = _TOP + _ROW * number, round(room * count / most, 1)
        rows.append(
            f'<text class="l" x="{_LEFT - 8}" y="{top + 15}">{_text(label[:24])}</text>'
            f'<rect x="{_LEFT}" y="{top + 3}" width="{width}" height="{_ROW - 6}"/>'
            f'<text class="n" x="{_LEFT + width + 6}" y="{top + 15}">{count:,}</text>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img"'
        f' aria-label="{_text(title)}"><style>{_STYLE}</style><desc>{_text(said)}</desc>'
        f'<text class="t" x="12" y="26">{_text(title)}</text>{"".join(rows)}</svg>\n'
    )


def _pictures(analysis: Analysis) -> Iterator[tuple[str, str]]:
    for histogram in analysis.histograms:
        yield from _picture("images", histogram)
    for layer in analysis.layers:
        largest = sorted(layer.classes, key=lambda one: -one.boxes)[:_MOST_BARS]
        if layer.boxes:
            labels, counts = [one.name for one in largest], [one.boxes for one in largest]
            yield f"{layer.name} classes", bars(f"{layer.name}: annotations", labels, counts)
        for histogram in layer.histograms:
            yield from _picture(layer.name, histogram)


def _picture(of: str, histogram: Histogram) -> Iterator[tuple[str, str]]:
    if any(histogram.counts):
        unit = f", {histogram.unit}" if histogram.unit else ""
        title = f"{of}: {histogram.name}{unit}"
        yield f"{of} {histogram.name}", bars(title, histogram.labels, histogram.counts)


def _text(value: str) -> str:
    """Names come from data sets: what XML does not allow is left out."""
    return html.escape("".join(char if char.isprintable() else "�" for char in value))
