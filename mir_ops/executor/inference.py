"""Collecting predictions and mining scores: `infer-result.json`, `result.tsv`, all hostile."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mir_ops.executor.embeddings import collect_embeddings
from mir_ops.executor.failures import ExecutorOutputError
from mir_ops.executor.files import printable, read_bounded
from mir_ops.executor.jobs import Job
from mir_ops.executor.segments import Segment, read_segments
from mir_ops.store import schema

_RESULT: Final = "infer-result.json"
_MINING: Final = "result.tsv"
_BYTES_PER_CANDIDATE: Final = 256 << 10
_SPARE_BYTES: Final = 16 << 20
_LARGEST: Final = 2 << 30
_SHOWN: Final = 3

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceReport:
    """What was taken and what was not: nothing is dropped without being counted."""

    assets: int
    boxes: int
    clipped: int = 0
    outside: int = 0
    without_score: int = 0
    without_result: tuple[str, ...] = ()  # assets the executor said nothing about
    unknown_classes: Mapping[str, int] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """One line per thing to know."""
        lines = [f"Took {self.boxes} boxes on {self.assets} images"]
        if self.clipped:
            lines.append(f"Clipped {self.clipped} boxes to their image")
        if self.outside:
            lines.append(f"Dropped {self.outside} boxes outside their image")
        if self.without_score:
            lines.append(f"Dropped {self.without_score} boxes without a score")
        lines += [
            f"Dropped {count} boxes of class `{name}`, which was not asked for"
            for name, count in self.unknown_classes.items()
        ]
        if self.without_result:
            first = ", ".join(asset_id[:12] for asset_id in self.without_result[:_SHOWN])
            lines.append(f"No result for {len(self.without_result)} images, first: {first}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "images": self.assets,
            "boxes": self.boxes,
            "clipped": self.clipped,
            "outside": self.outside,
            "without_score": self.without_score,
            "without_result": len(self.without_result),
            "unknown_classes": dict(self.unknown_classes),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceResult:
    """Checked predictions; `assets` are the ones looked at, also those where nothing was found."""

    predictions: pa.Table
    assets: pa.Array
    report: InferenceReport
    mining: pa.Table | None = None
    embeddings: pa.Table | None = None  # asset_id and vector, where the executor wrote them


def collect_inference(job: Job, class_ids: Mapping[str, int]) -> InferenceResult:
    """Read and check what an inference left in `out`; `class_ids` are the dataset's."""
    candidates = pq.read_table(job.candidates_path)
    rows = _RowsOf(candidates, _read_detections(job, candidates))
    missing = _without_result(job, candidates, rows.seen)
    predictions, counts = _to_table(job, candidates, rows, class_ids)
    looked_at = candidates["asset_id"].combine_chunks().take(pa.array(sorted(rows.seen)))
    return InferenceResult(
        predictions=predictions,
        assets=looked_at,
        report=InferenceReport(
            assets=len(looked_at), boxes=predictions.num_rows, without_result=missing, **counts
        ),
        mining=collect_mining(job) if job.kind == "mine" else None,
        embeddings=collect_embeddings(job),
    )


def collect_mining(job: Job) -> pa.Table:
    """Read and check `result.tsv`: a score per candidate, best first, ties by asset id."""
    candidates = pq.read_table(job.candidates_path)
    limit = _SPARE_BYTES + 1024 * candidates.num_rows
    raw = read_bounded(job.outputs / _MINING, limit=limit, root=job.outputs)
    if raw is None:
        _refuse(job, _MINING, "does not exist")
    numbers = {name: number for number, name in enumerate(candidates["name"].to_pylist())}
    scores = np.full(candidates.num_rows, np.nan)
    for line, text in enumerate(raw.decode("utf-8", errors="replace").splitlines(), start=1):
        if text.strip():
            number, score = _read_score(job, line, text, numbers)
            if not math.isnan(scores[number]):
                _refuse(job, _MINING, f"line {line}: `{printable(text)}` is there twice")
            scores[number] = score
    _without_result(job, candidates, set(np.flatnonzero(~np.isnan(scores)).tolist()), _MINING)
    table = pa.table(
        {"asset_id": candidates["asset_id"], "score": pa.array(scores, from_pandas=True)}
    ).drop_null()
    table = table.sort_by([("score", "descending"), ("asset_id", "ascending")])
    return _complete(table, schema.SCORES)


def _read_score(job: Job, line: int, text: str, numbers: Mapping[str, int]) -> tuple[int, float]:
    columns = text.split("\t")
    number = numbers.get(columns[0].strip().rpartition("/")[2])
    if number is None:
        _refuse(job, _MINING, f"line {line}: `{printable(columns[0])}` was not a candidate")
    try:
        score = float(columns[1])
    except (IndexError, ValueError):
        score = math.nan
    if not math.isfinite(score):
        _refuse(job, _MINING, f"line {line}: `{printable(text)}` has no finite score")
    return number, score


def _read_detections(job: Job, candidates: pa.Table) -> dict[str, Any]:
    limit = min(_SPARE_BYTES + candidates.num_rows * _BYTES_PER_CANDIDATE, _LARGEST)
    raw = read_bounded(job.outputs / _RESULT, limit=limit, root=job.outputs)
    if raw is None:
        raise ExecutorOutputError(
            f"Executor `{job.image.name}` ended well but wrote no `{_RESULT}`", code="no-result"
        )
    try:
        content = json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        _refuse(job, _RESULT, f"is not JSON: {printable(str(error))}")
    if job.image.object_type != 2:
        return read_segments(content, candidates)
    detection = content.get("detection") if isinstance(content, dict) else None
    if not isinstance(detection, dict):
        _refuse(job, _RESULT, "has no mapping `detection`")
    return detection


class _RowsOf:
    """The boxes as flat lists, and which candidates they belong to."""

    def __init__(self, candidates: pa.Table, detection: dict[str, Any]) -> None:
        numbers = {name: number for number, name in enumerate(candidates["name"].to_pylist())}
        self.names = list(detection)
        self.owners: list[int] = []
        self.boxes: list[dict[str, Any]] = []
        self.seen: set[int] = set()
        for name, entry in detection.items():
            number = numbers.get(name)
            if number is None:
                _refuse(None, _RESULT, f"`{printable(name)}` was not a candidate")
            self.seen.add(number)
            found = (
                entry.get("boxes", entry.get("annotations")) if isinstance(entry, dict) else None
            )
            if not isinstance(found, list) or not all(isinstance(box, dict) for box in found):
                _refuse(None, _RESULT, f"`{printable(name)}` has no list of boxes")
            self.owners += [number] * len(found)
            self.boxes += found


def _to_table(
    job: Job, candidates: pa.Table, rows: _RowsOf, class_ids: Mapping[str, int]
) -> tuple[pa.Table, dict[str, Any]]:
    """The checked boxes as predictions, sorted by asset and falling confidence."""
    known = {name: class_ids[name] for name in job.class_names if name in class_ids}
    names = [box.get("class_name") for box in rows.boxes]
    classes = np.array([known.get(str(name), -1) for name in names], dtype=np.int32)
    scored = np.array([box.get("score") is not None for box in rows.boxes], dtype=bool)
    kept = np.flatnonzero((classes >= 0) & scored)
    boxes = [rows.boxes[number] for number in kept]
    where = [f"box {number}" for number in kept]
    owners = np.array(rows.owners, dtype=np.int64)[kept]
    confidence = _numbers([box["score"] for box in boxes], where, "score")
    _require(confidence, where, "score", (confidence >= 0) & (confidence <= 1))
    x, y, w, h, clipped = _corners(boxes, where, owners, candidates)
    inside = (w > 0) & (h > 0)
    columns = {"owner": owners, "class_id": classes[kept], "x": x, "y": y, "w": w, "h": h}
    probs = _class_probs(boxes, where, known)
    table = pa.table({**columns, "confidence": confidence, "class_probs": probs})
    if job.image.object_type != 2:
        table = _with_shapes(table, [box["segment"] for box in boxes])
    table = table.filter(pa.array(inside))
    counts = {
        "clipped": int((clipped & inside).sum()),
        "outside": int((~inside).sum()),
        "without_score": int((~scored & (classes >= 0)).sum()),
        "unknown_classes": _unknown_classes(names, classes),
    }
    return _number_rows(table, candidates), counts


def _unknown_classes(names: Sequence[object], classes: NDArray[np.int32]) -> dict[str, int]:
    """How many boxes were of each class that was not asked for, by its name."""
    unknown = [names[number] for number in np.flatnonzero(classes < 0).tolist()]
    return dict(sorted(Counter(printable(str(name), limit=80) for name in unknown).items()))


def _corners(
    boxes: list[dict[str, Any]], where: list[str], owners: NDArray[np.int64], candidates: pa.Table
) -> tuple[Numbers, Numbers, Numbers, Numbers, NDArray[np.bool_]]:
    """The boxes inside their images."""
    sides = [box.get("box") for box in boxes]
    for place, side in zip(where, sides, strict=True):
        if not isinstance(side, dict):
            _refuse(None, _RESULT, f"{place} has no `box`")
    x, y, w, h = (
        _numbers([side.get(name) for side in sides], where, name)  # type: ignore[union-attr]
        for name in "xywh"
    )
    for name, values in (("w", w), ("h", h)):
        _require(values, where, name, values >= 0)
    width = candidates["width"].to_numpy()[owners]
    height = candidates["height"].to_numpy()[owners]
    left, top = np.clip(x, 0, width), np.clip(y, 0, height)
    right, bottom = np.clip(x + w, 0, width), np.clip(y + h, 0, height)
    clipped = (x < 0) | (y < 0) | (x + w > width) | (y + h > height)
    return left, top, right - left, bottom - top, clipped


def _class_probs(
    boxes: list[dict[str, Any]], where: list[str], known: Mapping[str, int]
) -> pa.Array:
    """The optional `class_probs` of each box as a sparse map."""
    given = [box.get("class_probs") for box in boxes]
    for place, probs in zip(where, given, strict=True):
        if probs is not None and not isinstance(probs, dict):
            _refuse(None, _RESULT, f"{place}: `class_probs` is not a mapping")
    shares = [
        None if probs is None else [(known[k], v) for k, v in sorted(probs.items()) if k in known]
        for probs in given
    ]
    flat = list(chain.from_iterable(share or () for share in shares))
    places = ["class_probs"] * len(flat)
    values = _numbers([value for _, value in flat], places, "class_probs")
    _require(values, places, "class_probs", (values >= 0) & (values <= 1))
    sizes = np.array([len(share or ()) for share in shares], dtype=np.int64)
    ends = np.concatenate(([0], np.cumsum(sizes)))
    absent = np.array([share is None for share in shares] + [False], dtype=bool)
    return pa.MapArray.from_arrays(
        pa.array(ends, pa.int32(), mask=absent),
        pa.array([key for key, _ in flat], pa.int32()),
        pa.array(values, pa.float32()),
    )


def _with_shapes(table: pa.Table, segments: list[Segment | None]) -> pa.Table:
    """The table with each object's shape; one without a shape stays a box."""
    shapes = {
        "kind": pa.array(["box" if one is None else one.kind for one in segments], pa.string()),
        "polygon": pa.array(
            [None if one is None or one.polygon is None else one.polygon for one in segments],
            schema.PREDICTIONS.field("polygon").type,
        ),
        "rle": pa.array([None if one is None else one.rle for one in segments], pa.binary()),
        "area": pa.array([None if one is None else one.area for one in segments], pa.float32()),
    }
    for name, column in shapes.items():
        table = table.append_column(name, column)
    return table


def _number_rows(table: pa.Table, candidates: pa.Table) -> pa.Table:
    """Order by asset and confidence; a prediction's id is its place on its asset."""
    order = [("owner", "ascending"), ("confidence", "descending"), ("class_id", "ascending")]
    order += [(side, "ascending") for side in "xywh"]
    table = table.sort_by(order)
    owners = table["owner"].to_numpy()
    starts = np.searchsorted(owners, owners, side="left")
    asset_ids = candidates["asset_id"].combine_chunks().take(pa.array(owners))
    table = table.append_column("asset_id", asset_ids)
    table = table.append_column(
        "annotation_id", pa.array(np.arange(len(owners)) - starts, pa.uint64())
    )
    area = pc.multiply(table["w"], table["h"])
    if "kind" in table.column_names:
        place = table.schema.get_field_index("area")
        area = pc.coalesce(table["area"], area.cast(pa.float32()))
        table = table.set_column(place, "area", area)
    else:
        table = table.append_column("kind", pa.repeat(pa.scalar("box"), table.num_rows))
        table = table.append_column("area", area)
    return _complete(table, schema.PREDICTIONS)


def _complete(table: pa.Table, wanted: pa.Schema) -> pa.Table:
    """The table with exactly the schema's columns; absent ones are null."""
    columns = [
        table[column.name].cast(column.type)
        if column.name in table.column_names
        else pa.nulls(table.num_rows, column.type)
        for column in wanted
    ]
    return pa.Table.from_arrays(columns, schema=wanted)


def _without_result(
    job: Job, candidates: pa.Table, seen: set[int], file: str = _RESULT
) -> tuple[str, ...]:
    """The candidates that the executor left out: an error for images that promise all."""
    if len(seen) == candidates.num_rows:
        return ()
    missing = [number for number in range(candidates.num_rows) if number not in seen]
    if job.image.complete:
        first = ", ".join(candidates["name"].take(missing[:_SHOWN]).to_pylist())
        _refuse(job, file, f"misses {len(missing)} of {candidates.num_rows} images, first: {first}")
    return tuple(asset_id.hex() for asset_id in candidates["asset_id"].take(missing).to_pylist())


def _numbers(values: list[Any], where: list[str], name: str) -> Numbers:
    """Finite numbers and nothing else: no text, no booleans, no integers beyond float."""
    for place, value in zip(where, values, strict=True):
        if type(value) not in (int, float):
            _refuse(None, _RESULT, f"{place}: `{name}` is `{printable(repr(value), limit=40)}`")
    try:
        numbers: Numbers = np.array(values, dtype=np.float64)
    except OverflowError:
        _refuse(None, _RESULT, f"a `{name}` is beyond every bound")
    _require(numbers, where, name, np.abs(numbers) < 1e9)  # also false for NaN
    return numbers


def _require(values: Numbers, where: list[str], name: str, good: NDArray[np.bool_]) -> None:
    if not good.all():
        first = int(np.flatnonzero(~good)[0])
        _refuse(None, _RESULT, f"{where[first]}: `{name}` is {values[first]:g}")


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"`{text}` is not a number")


def _refuse(job: Job | None, file: str, rule: str) -> NoReturn:
    who = f" of `{job.image.name}`" if job is not None else ""
    raise ExecutorOutputError(
        f"Output `{file}`{who}: {rule}",
        hint="The executor breaks the contract: report it to the author of its image",
    )
