"""The report of a simulation: verdicts, curves and tables in one HTML file, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from markupsafe import Markup

from mir_ops.console.charts import Series, line_chart
from mir_ops.console.rendering import render, stylesheet
from mir_ops.console.report import write_whole
from mir_ops.mining.worth import Worth, told


def write_simulation(worth: Worth, folder: Path, *, title: str, lines: Sequence[str]) -> Path:
    """`simulation.json` and `report.html`; the path of the page."""
    html = render(
        "simulation.html",
        style=stylesheet(),
        written_at=datetime.now(UTC),
        title=title,
        worth=worth,
        lines=[*lines, *worth.notes],
        charts=[_chart(worth, "images"), _chart(worth, "boxes")],
        verdicts=[_sentence(each.verdict) for each in worth.against],
        told=told,
    )
    said = {"title": title, **worth.to_dict(), "lines": list(lines)}
    write_whole(folder / "simulation.json", json.dumps(said, indent=1))
    write_whole(folder / "report.html", html)
    return folder / "report.html"


def _sentence(verdict: str) -> str:
    plain = verdict.replace("`", "")
    return f"{plain[:1].upper()}{plain[1:]}."


def _chart(worth: Worth, what: Literal["images", "boxes"]) -> Markup:
    series = [
        Series(
            name=name,
            points=[(float(getattr(point, what)), point.map50) for point in curve],
            ranges=[(point.lowest, point.highest) for point in curve],
            notes=[
                f"{name}, round {point.number}: {point.map50:.3f} with {point.images} images and "
                f"{point.boxes:.0f} boxes; seeds {point.lowest:.3f} to {point.highest:.3f}"
                for point in curve
            ],
        )
        for name, curve in worth.curves.items()
    ]
    return line_chart(
        series,
        title=f"mAP50 by labelled {what}",
        x_label=f"labelled {what}",
        y_label="mAP50",
        y_top=1.0,
    )
