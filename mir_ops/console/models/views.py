"""What the pages of models show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from markupsafe import Markup

from mir_ops.console.messages import _
from mir_ops.console.models.drawings import Axis, Line, curve_chart
from mir_ops.console.models.measured import Measured
from mir_ops.console.rendering import mistake_text
from mir_ops.evaluation.marks import MISTAKE, NOTHING, THERE
from mir_ops.executor.curves import Curve, read_curves

if TYPE_CHECKING:
    from mir_ops.console.models.shelf import ModelLine
    from mir_ops.console.sources import Sources
    from mir_ops.store import Store

MOST_SHOWN: Final = 20  # classes of a matrix on a page
_SHADES: Final = 9
_MOST_CHARTS: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell of a matrix: how many boxes, how dark, and where its images are."""

    count: int
    shade: int
    row: str
    column: str
    address: str | None
    right: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Rows are what is there, columns what was predicted; the last of each is the background."""

    names: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    left_out: int  # classes that are confused least
    worst: tuple[Cell, ...]  # the mistakes that are made most, of all classes


def matrix_of(report: Mapping[str, Any], measured: Measured, ids: Mapping[str, int]) -> Matrix:
    """`ids` are the class ids of the version that the images are looked at in."""
    confusion = report["confusion"]
    counts: list[list[int]] = confusion["counts"]
    *names, _background = confusion["classes"]
    last = len(names)
    wrong = [sum(counts[n]) + sum(row[n] for row in counts) - 2 * counts[n][n] for n in range(last)]
    most = sorted(range(last), key=lambda n: (-wrong[n], n))[:MOST_SHOWN]
    shown = [*sorted(most), last]

    def cell(i: int, j: int) -> Cell:
        count, whole = counts[i][j], sum(counts[i])
        there, found = (names[n] if n < last else None for n in (i, j))
        return Cell(
            count=count,
            shade=min(_SHADES, round(_SHADES * count / whole)) if whole and count else 0,
            row=there or "",
            column=found or "",
            address=_images(measured, ids, there, found) if count else None,
            right=i == j,
        )

    pairs = [(counts[i][j], -i, -j) for i in range(last + 1) for j in range(last + 1) if i != j]
    worst = sorted((pair for pair in pairs if pair[0]), reverse=True)[:8]
    return Matrix(
        names=tuple(names[n] for n in shown[:-1]),
        rows=tuple(tuple(cell(i, j) for j in shown) for i in shown),
        left_out=last - len(most),
        worst=tuple(cell(-i, -j) for _, i, j in worst),
    )


def _images(
    measured: Measured, ids: Mapping[str, int], there: str | None, found: str | None
) -> str | None:
    """The query that shows the images of a cell; None where the version lacks a class."""
    if any(name is not None and name not in ids for name in (there, found)):
        return None
    if found is None:
        chosen = {"class": ids[there or ""], "mark": "fn"}
    elif there == found:
        chosen = {"class": ids[found], "mark": "tp"}
    else:
        real = NOTHING if there is None else str(ids[there])
        chosen = {"class": ids[found], "mark": "fp", "tag": f"{THERE}={real}"}
    return images_query(measured, **chosen)


def images_query(measured: Measured, **chosen: object) -> str:
    """Filters of the images' pages, with the layers that this evaluation compared."""
    pairs: list[tuple[str, object]] = [("layer", "ground_truth"), ("layer", measured.layer)]
    if measured.split:
        pairs.append(("split", measured.split))
    pairs += chosen.items()
    if measured.confidence is not None:
        # Rounded down: the box of this very confidence is among those that were marked.
        pairs.append(("confidence", f"{math.floor(measured.confidence * 1e6) / 1e6:.6f}"))
    return urlencode(pairs)


def precision_chart(reports: Sequence[tuple[str, Mapping[str, Any]]], *, movable: bool) -> Markup:
    """Precision against recall of all classes together, a line for each report."""
    lines = [Line(name=name, points=points_of(report["counts"])) for name, report in reports]
    ticks = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    return curve_chart(
        lines,
        title=_("Precision and recall"),
        x=Axis(_("recall"), ticks),
        y=Axis(_("precision"), ticks),
        movable=movable,
    )


def points_of(counts: Mapping[str, Any]) -> list[tuple[float, float]]:
    """Recall and precision at each confidence where something is predicted, by rising recall."""
    classes = counts["per_class"].values()
    boxes = sum(each["boxes"] for each in classes)
    steps = range(len(counts["confidence"]))
    found = [(sum(each["tp"][n] for each in classes), n) for n in steps]
    wrong = [sum(each["fp"][n] for each in classes) for n in steps]
    return [
        (tp / boxes, tp / (tp + wrong[n])) for tp, n in reversed(found) if boxes and tp + wrong[n]
    ]


def training_charts(store: Store, line: ModelLine) -> list[Markup]:
    """Each curve that was kept with the model, as a chart of its own."""
    origin = line.package.origin
    return [
        curve_chart(
            [Line(name=curve.name, points=list(zip(curve.steps, curve.values, strict=True)))],
            title=curve.name,
            x=Axis.over(_("step"), curve.steps),
            y=Axis.over("", [0.0, *curve.values]),
        )
        for curve in curves_of(store, origin)[:_MOST_CHARTS]
    ]


def curves_of(store: Store, origin: Mapping[str, Any]) -> tuple[Curve, ...]:
    kept = {key: origin[key] for key in ("curves", "tensorboard") if key in origin}
    return _curves(store, tuple(kept.items()))


@lru_cache(maxsize=64)
def _curves(store: Store, kept: tuple[tuple[str, str], ...]) -> tuple[Curve, ...]:
    return read_curves(store, dict(kept))


def class_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each class with its average precisions, and its counts at the report's confidence."""
    metrics, counts = report["metrics"], report["counts"]
    step = step_at(counts["confidence"], report["confidence"])
    return [
        {
            "name": name,
            **{key: each[key] for key in ("ap", "ap50", "ap75", "recall50")},
            **at_step(counts["per_class"][name], step),
        }
        for name, each in metrics["per_class"].items()
    ]


def step_at(confidences: Sequence[float], confidence: float) -> int:
    """The step of the slider that is nearest to a confidence."""
    return min(range(len(confidences)), key=lambda n: abs(confidences[n] - confidence))


def at_step(counts: Mapping[str, Any], step: int) -> dict[str, Any]:
    """Hits, wrong and missed ones of a class, and what follows from them."""
    tp, fp, boxes = counts["tp"][step], counts["fp"][step], counts["boxes"]
    precision = tp / (tp + fp) if tp + fp else None
    recall = tp / boxes if boxes else None
    both = (precision or 0) + (recall or 0)
    f1 = 2 * (precision or 0) * (recall or 0) / both if both else 0.0
    return {
        "tp": tp, "fp": fp, "fn": boxes - tp, "boxes": boxes,
        "precision": precision, "recall": recall, "f1": f1,
    }  # fmt: skip


def whole_at(report: Mapping[str, Any]) -> dict[str, Any]:
    """All classes together, at the report's confidence."""
    counts = report["counts"]
    step = step_at(counts["confidence"], report["confidence"])
    classes = list(counts["per_class"].values())
    whole = {side: [sum(each[side][step] for each in classes)] for side in ("tp", "fp")}
    return {
        "step": step,
        **at_step({**whole, "boxes": sum(each["boxes"] for each in classes)}, 0),
    }


def mistake_rows(report: Mapping[str, Any], measured: Measured) -> list[dict[str, Any]]:
    """Kinds of mistakes by what mending them would gain, with the images of each."""
    told = report["mistakes"]
    rows = [
        {
            "kind": kind,
            "text": mistake_text(kind),
            "count": count,
            "gain": told["gains"][kind],
            "address": images_query(measured, **_mistake(kind)) if count else None,
        }
        for kind, count in told["counts"].items()
    ]
    return sorted(rows, key=lambda row: -row["gain"])


def _mistake(kind: str) -> dict[str, str]:
    if kind == "missed":
        return {"mark": "fn"}
    return {"mark": "fp", "tag": f"{MISTAKE}={kind}"}


def class_ids(sources: Sources, commit: str) -> dict[str, int]:
    taxonomy = sources.store.read(commit).taxonomy
    return dict(zip(taxonomy.names, taxonomy.ids, strict=True))


def compared_rows(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each class's AP in both, those that changed most first."""
    first, second = (report["metrics"]["per_class"] for report in (a, b))
    rows = [
        {
            "name": name,
            "a": first[name]["ap50"] if name in first else None,
            "b": second[name]["ap50"] if name in second else None,
        }
        for name in dict.fromkeys([*first, *second])
    ]
    for row in rows:
        both = row["a"] is not None and row["b"] is not None
        row["difference"] = row["b"] - row["a"] if both else None
    return sorted(rows, key=lambda row: -abs(row["difference"] or 0.0))
