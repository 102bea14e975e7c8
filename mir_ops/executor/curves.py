"""Training curves as they were kept with a model: `metrics.jsonl`, or TensorBoard's events.

Both were written by an executor: what is no number at a step is passed over, and there is a bound
on everything.
"""

from __future__ import annotations

import io
import json
import math
import struct
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mir_ops.executor.files import printable
from mir_ops.store import Store

MOST_POINTS: Final = 400  # of a curve; of more, some are left out at even distances
_MOST_CURVES: Final = 60
_MOST_READ: Final = 400_000
_LONGEST: Final = 64 << 20
_SUMMARY, _STEP = 5, 2  # fields of an event
_TAG, _SIMPLE, _TENSOR = 1, 2, 8  # fields of a summary's value
_TENSOR_CONTENT, _FLOATS = 4, 5  # fields of a tensor

Points = Iterator[tuple[str, float, float]]  # name, step, value


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One number as it went on, in the order of steps."""

    name: str
    steps: tuple[float, ...]
    values: tuple[float, ...]


def read_curves(store: Store, origin: Mapping[str, Any]) -> tuple[Curve, ...]:
    """The curves of a model by what its `origin` names; none where none, or too much, was kept."""
    for key, points in (("curves", _lines), ("tensorboard", _events)):
        digest = origin.get(key)
        if isinstance(digest, str) and store.blobs.size(digest) <= _LONGEST:
            return _gathered(points(store.get_blob(digest)))
    return ()


def _gathered(points: Points) -> tuple[Curve, ...]:
    found: dict[str, dict[float, float]] = {}
    for (name, step, value), _ in zip(points, range(_MOST_READ), strict=False):
        if name in found or len(found) < _MOST_CURVES:
            found.setdefault(name, {})[step] = value
    return tuple(_thinned(name, sorted(each.items())) for name, each in found.items())


def _thinned(name: str, points: list[tuple[float, float]]) -> Curve:
    last = len(points) - 1
    if len(points) > MOST_POINTS:
        points = [points[round(n * last / (MOST_POINTS - 1))] for n in range(MOST_POINTS)]
    steps, values = zip(*points, strict=True)
    return Curve(name=name, steps=steps, values=values)


def _lines(content: bytes) -> Points:
    for line in content.splitlines():
        try:
            read = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(read, dict) and isinstance(read.get("name"), str):
            yield from _point(read["name"], read.get("step"), read.get("value"))


def _point(name: str, step: object, value: object) -> Points:
    numbers = [
        float(each)
        for each in (step, value)
        if isinstance(each, int | float) and not isinstance(each, bool) and abs(each) < 1e18
    ]
    text = printable(name, limit=80)
    if len(numbers) == 2 and text and all(map(math.isfinite, numbers)):
        yield text, numbers[0], numbers[1]


def _events(archive: bytes) -> Points:
    """The scalars in every event file; the folder of a run goes before the name."""
    room = _LONGEST
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r|gz") as members:
            for member in members:
                file = members.extractfile(member) if member.isreg() else None
                if file is None or "tfevents" not in member.name or room <= 0:
                    continue
                content = file.read(room)
                room -= len(content)
                run = member.name.rpartition("/")[0]
                for name, step, value in _scalars(content):
                    yield from _point(f"{run}/{name}" if run else name, step, value)
    except (tarfile.TarError, zlib.error, EOFError, OSError):
        return  # what was read until here was whole


def _scalars(content: bytes) -> Points:
    """TensorFlow's records: a length, its checksum, an event, its checksum."""
    at = 0
    while at + 12 <= len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        record = content[at + 12 : at + 12 + length]
        if len(record) < length:
            return
        at += 16 + length
        try:
            yield from _of_event(record)
        except (ValueError, struct.error):
            continue


def _of_event(record: bytes) -> Points:
    event = dict(_fields(record))
    step, summary = event.get(_STEP, 0), event.get(_SUMMARY)
    if not isinstance(summary, bytes) or not isinstance(step, int):
        return
    for number, value in _fields(summary):
        parts = dict(_fields(value)) if number == 1 and isinstance(value, bytes) else {}
        tag, scalar = parts.get(_TAG), _scalar(parts)
        if isinstance(tag, bytes) and scalar is not None:
            yield tag.decode("utf-8", errors="replace"), step, scalar


def _scalar(parts: Mapping[int, int | bytes]) -> float | None:
    """A plain number, or a tensor of one."""
    raw, tensor = parts.get(_SIMPLE), parts.get(_TENSOR)
    if isinstance(tensor, bytes):
        held = dict(_fields(tensor))
        raw = held.get(_TENSOR_CONTENT, held.get(_FLOATS))
    if not isinstance(raw, bytes) or len(raw) != 4:
        return None
    value: float = struct.unpack("<f", raw)[0]
    return value


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and values of a protobuf message; groups are refused."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == 2:
            length, at = _varint(message, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError("an unknown kind of field")
        if at + length > len(message):
            raise ValueError("a field is cut off")
        yield number, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        value, at = value | (byte & 127) << shift, at + 1
        if byte < 128:
            return value, at
    raise ValueError("a number is cut off")
