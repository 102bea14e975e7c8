"""Predictions of images that segment: `infer-result.json` is a COCO file, hostile as all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import numpy as np
import pyarrow as pa

from mir_ops.executor.failures import ExecutorOutputError
from mir_ops.executor.files import printable
from mir_ops.formats.rle import bounding_boxes, read_runs, runs_of, write_runs

_FILE: Final = "infer-result.json"
_LONGEST: Final = 200_000  # numbers in one shape
_BEYOND: Final = 1e9


@dataclass(frozen=True, slots=True)
class Segment:
    """The shape of one object: rings of x, y, or COCO's compressed run lengths."""

    polygon: tuple[tuple[float, ...], ...] | None
    rle: bytes | None
    area: float

    @property
    def kind(self) -> str:
        return "mask" if self.rle is not None else "polygon"


def read_segments(content: object, candidates: pa.Table) -> dict[str, Any]:
    """The file as one of boxes, `segment` being the shape of each: by the candidate's name.

    Every image that the file lists counts as looked at.
    """
    if not isinstance(content, dict):
        _refuse("is not a mapping")
    images = _numbered(content, "images", "file_name")
    names = _numbered(content, "categories", "name")
    sizes = {row["name"]: (row["height"], row["width"]) for row in candidates.to_pylist()}
    found: dict[str, Any] = {}
    files = {number: name.rpartition("/")[2] for number, name in images.items()}
    for file in files.values():
        if file not in sizes:
            _refuse(f"`{printable(file)}` was not a candidate")
        found[file] = {"boxes": []}
    annotations = content.get("annotations", [])
    if not isinstance(annotations, list):
        _refuse("`annotations` is not a list")
    for number, entry in enumerate(annotations):
        where = f"annotation {number}"
        if not isinstance(entry, dict):
            _refuse(f"{where} is not a mapping")
        file = _looked_up(files, entry.get("image_id"), f"{where}: `image_id`")
        name = _looked_up(names, entry.get("category_id"), f"{where}: `category_id`")
        found[file]["boxes"].append(_box(entry, name, sizes[file], where))
    return found


def _box(entry: Mapping[str, Any], name: str, size: tuple[int, int], where: str) -> dict[str, Any]:
    segment, around = _segment(entry.get("segmentation"), size, where)
    given = entry.get("bbox")
    if given is None:
        given = around
    if not isinstance(given, list | tuple) or len(given) != 4:
        _refuse(f"{where}: `bbox` is not x, y, w, h")
    return {
        "box": dict(zip("xywh", given, strict=True)),
        "class_name": name,
        "score": entry.get("confidence", entry.get("score")),
        "segment": segment,
    }


def _segment(
    shape: object, size: tuple[int, int], where: str
) -> tuple[Segment | None, tuple[float, ...]]:
    """The shape, and the box around it."""
    if isinstance(shape, dict) and shape:
        return _mask(shape, size, where)
    if isinstance(shape, list) and shape:
        rings = tuple(_ring(ring, where) for ring in shape)
        points = np.concatenate([np.array(ring).reshape(-1, 2) for ring in rings])
        low, high = points.min(axis=0), points.max(axis=0)
        area = abs(sum(_area(np.array(ring).reshape(-1, 2)) for ring in rings))
        return Segment(rings, None, area), (*low.tolist(), *(high - low).tolist())
    return None, (0.0, 0.0, 0.0, 0.0)


def _ring(ring: object, where: str) -> tuple[float, ...]:
    good = isinstance(ring, list) and 6 <= len(ring) <= _LONGEST and len(ring) % 2 == 0
    if not good or not all(type(value) in (int, float) for value in ring):  # type: ignore[attr-defined]
        _refuse(f"{where}: a ring of `segmentation` is not at least three points x, y")
    try:
        values = tuple(float(value) for value in ring)  # type: ignore[attr-defined]
    except OverflowError:
        values = (np.inf,)
    if not all(abs(value) < _BEYOND for value in values):
        _refuse(f"{where}: a ring of `segmentation` has a number beyond every bound")
    return values


def _mask(
    shape: Mapping[str, Any], size: tuple[int, int], where: str
) -> tuple[Segment, tuple[float, ...]]:
    if shape.get("size") != list(size):
        _refuse(f"{where}: the size of the mask is not its image's, {list(size)}")
    text = _compressed(shape.get("counts"), where)
    runs, good = read_runs(pa.array([text], pa.binary()))
    if not good[0] or int(runs.totals[0]) != size[0] * size[1]:
        _refuse(f"{where}: the run lengths of the mask do not cover its image")
    box = bounding_boxes(runs, np.array([size[0]]))[0]
    return Segment(None, text, float(runs.areas[0])), tuple(box.tolist())


def _compressed(counts: object, where: str) -> bytes:
    if isinstance(counts, str) and len(counts) <= _LONGEST:
        return counts.encode("utf-8", errors="replace")
    if not isinstance(counts, list) or len(counts) > _LONGEST:
        _refuse(f"{where}: `counts` of the mask are no run lengths")
    if not all(type(count) is int and 0 <= count < 1 << 31 for count in counts):
        _refuse(f"{where}: `counts` of the mask are no run lengths")
    packed: bytes = write_runs(runs_of([np.array(counts, np.int64)]))[0].as_py()
    return packed


def _area(points: np.ndarray[Any, Any]) -> float:
    x, y = points[:, 0], points[:, 1]
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def _numbered(content: Mapping[str, Any], name: str, key: str) -> dict[Any, str]:
    """Names by id; an id that is there twice is refused."""
    entries = content.get(name)
    if not isinstance(entries, list):
        _refuse(f"has no list `{name}`")
    found: dict[Any, str] = {}
    for number, entry in enumerate(entries):
        text = entry.get(key) if isinstance(entry, dict) else None
        id_ = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(text, str) or type(id_) is not int:
            _refuse(f"`{name}` {number} has no `id` or no `{key}`")
        if id_ in found:
            _refuse(f"`{name}`: the id {id_} is there twice")
        found[id_] = text
    return found


def _looked_up(names: Mapping[Any, str], id_: object, where: str) -> str:
    if type(id_) is not int or id_ not in names:
        _refuse(f"{where} is `{printable(repr(id_), limit=40)}`, which is not in the file")
    return names[id_]


def _refuse(rule: str) -> NoReturn:
    raise ExecutorOutputError(
        f"Output `{_FILE}`: {rule}",
        hint="The executor breaks the contract: report it to the author of its image",
    )
