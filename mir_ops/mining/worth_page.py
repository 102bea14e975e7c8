"""The report of a simulation: plots and tables in one HTML file, and the same as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from mir_ops.mining.worth import Estimate, Point, Worth

_COLOURS: Final = ("#888888", "#d1495b", "#2e86ab", "#3a7d44", "#b8860b", "#7b4b94", "#008080")
_LEFT, _RIGHT, _TOP, _BOTTOM = 50.0, 620.0, 20.0, 280.0
_TICKS: Final = 5


def write_report(worth: Worth, folder: Path, *, title: str, lines: Sequence[str]) -> Path:
    """`simulation.json` and `report.html`; the path of the page."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("mir_ops.mining"), autoescape=True)
    page = environment.get_template("worth.html").render(
        title=title,
        worth=worth,
        lines=[*lines, *worth.notes],
        plots=[_plot(worth, "images"), _plot(worth, "boxes")],
        told=told,
    )
    said = {"title": title, **worth.to_dict(), "lines": list(lines)}
    _write(folder / "simulation.json", json.dumps(said, indent=1))
    _write(folder / "report.html", page)
    return folder / "report.html"


def told(found: Estimate | None, digits: int) -> str:
    """An estimate and its interval, for people."""
    if found is None:
        return "–"
    text = f"{found.mean:+.{digits}f}"
    if found.low is None or found.high is None:
        return text
    return f"{text} [{found.low:+.{digits}f}, {found.high:+.{digits}f}]"


def _plot(worth: Worth, what: str) -> dict[str, Any]:
    points = [point for curve in worth.curves.values() for point in curve]
    across = [float(getattr(point, what)) for point in points]
    low, high = min(across), max(across)
    bottom, top = min(p.lowest for p in points), max(p.highest for p in points)
    wide, tall = high - low or 1.0, top - bottom or 1.0

    def x(point: Point) -> float:
        return round(
            _LEFT + 20 + (float(getattr(point, what)) - low) / wide * (_RIGHT - _LEFT - 40), 1
        )

    def y(value: float) -> float:
        return round(_BOTTOM - (value - bottom) / tall * (_BOTTOM - _TOP), 1)

    steps = [n / (_TICKS - 1) for n in range(_TICKS)]
    return {
        "what": what,
        "across": [
            {
                "at": round(_LEFT + 20 + s * (_RIGHT - _LEFT - 40), 1),
                "text": f"{low + s * wide:.0f}",
            }
            for s in steps
        ],
        "up": [{"at": y(bottom + s * tall), "text": f"{bottom + s * tall:.2f}"} for s in steps],
        "curves": [
            {
                "name": name,
                "colour": _COLOURS[number % len(_COLOURS)],
                "points": " ".join(f"{x(point)},{y(point.map50)}" for point in curve),
                "bars": [
                    {"x": x(point), "low": y(point.lowest), "high": y(point.highest)}
                    for point in curve
                ],
            }
            for number, (name, curve) in enumerate(worth.curves.items())
        ],
    }


def _write(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
