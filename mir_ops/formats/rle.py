"""COCO's run lengths of masks, many at once: compressed text, counts, areas, bounding boxes.

Runs go down the columns of the mask, background first. The compressed text holds six bits a
character, of which one says that more follow; from the fourth run on, differences to the last
run but one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
_ZERO: Final = 48  # the character that stands for 0
_MORE: Final = 0x20
_LONGEST: Final = 7  # characters of one number: 35 bits
MAX_PIXELS: Final = 2**31


@dataclass(frozen=True, slots=True)
class Runs:
    """The runs of several masks: `counts` of all, those of mask i from `starts[i]` on."""

    counts: Ints
    starts: Ints  # one more than there are masks

    def __len__(self) -> int:
        return len(self.starts) - 1

    def of(self, number: int) -> Ints:
        return self.counts[self.starts[number] : self.starts[number + 1]]

    @property
    def totals(self) -> Ints:
        """How many pixels the runs of each mask cover."""
        return _sums(self.counts, self.starts)

    @property
    def areas(self) -> Ints:
        """How many pixels are in each mask."""
        return _sums(np.where(_number(self.starts) % 2, self.counts, 0), self.starts)


def read_runs(texts: pa.Array) -> tuple[Runs, Mask]:
    """The runs of compressed masks, and which of the texts are run lengths at all.

    A text that is none has no runs here. Nulls are no run lengths.
    """
    data, bounds, length = _bytes_of(texts)
    bits = data.astype(np.int64) - _ZERO
    last = (bits & _MORE) == 0
    bad_byte = (bits < 0) | (bits > 63)
    ends = bounds[1:] - 1
    good = (length > 0) & (_sums(bad_byte, bounds) == 0)
    good[good] = last[ends[good]]
    row = np.repeat(np.arange(len(length)), length)
    kept = good[row]
    bits, last, row = bits[kept], last[kept], row[kept]
    numbers = np.concatenate([np.zeros(1, np.int64), np.flatnonzero(last) + 1])
    place = _number(numbers)
    too_long = np.zeros(len(length), np.bool_)
    too_long[row[place >= _LONGEST]] = True
    shift = 5 * np.minimum(place, _LONGEST)
    values = _sums((bits & 0x1F) << shift, numbers)
    tail = numbers[1:] - 1
    negative = (bits[tail] & 0x10) != 0
    values = values - (negative.astype(np.int64) << (shift[tail] + 5))
    starts = _starts(np.bincount(row[tail], minlength=len(length)))
    runs = Runs(_undone(values, starts), starts)
    bad = too_long | (_sums((runs.counts < 0) | (runs.counts > MAX_PIXELS), starts) > 0)
    return _without(runs, bad), good & ~bad


def write_runs(runs: Runs) -> pa.Array:
    """The compressed text of each mask, as COCO's tools write it."""
    values = _differences(runs.counts, runs.starts)
    characters = np.zeros((len(values), _LONGEST), np.uint8)
    used = np.zeros((len(values), _LONGEST), np.bool_)
    going = np.ones(len(values), np.bool_)
    for place in range(_LONGEST):
        used[:, place] = going
        bits = values & 0x1F
        values = values >> 5
        more = going & np.where(bits & 0x10, values != -1, values != 0)
        characters[:, place] = (bits | np.where(more, _MORE, 0)) + _ZERO
        going = more
    length = np.concatenate([np.zeros(1, np.int64), np.cumsum(used.sum(axis=1))])
    offsets = pa.py_buffer(length[runs.starts].astype(np.int32).tobytes())
    data = pa.py_buffer(characters[used].tobytes())
    return pa.Array.from_buffers(pa.binary(), len(runs), [None, offsets, data])


def runs_of(counts: list[Ints]) -> Runs:
    """Runs of masks that are given one by one."""
    starts = _starts(np.asarray([len(each) for each in counts], np.int64))
    return Runs(np.concatenate([*counts, np.zeros(0, np.int64)]).astype(np.int64), starts)


def bounding_boxes(runs: Runs, heights: Ints) -> npt.NDArray[np.float64]:
    """x, y, w, h of the pixels in each mask; zeros where there are none."""
    row = np.repeat(np.arange(len(runs)), np.diff(runs.starts))
    ends = np.cumsum(runs.counts)
    ends -= np.repeat(np.concatenate([np.zeros(1, np.int64), ends])[runs.starts[:-1]], _sizes(runs))
    inside = (_number(runs.starts) % 2 == 1) & (runs.counts > 0)
    row, end, start = row[inside], ends[inside] - 1, (ends - runs.counts)[inside]
    height = np.maximum(heights, 1)[row]
    left, right = start // height, end // height
    several = left != right  # such a run touches the bottom of one column and the top of the next
    top = np.where(several, 0, start % height)
    bottom = np.where(several, height - 1, end % height)
    box = np.zeros((len(runs), 4))
    if len(row):
        first = np.flatnonzero(np.concatenate([[True], row[1:] != row[:-1]]))
        x, y = np.minimum.reduceat(left, first), np.minimum.reduceat(top, first)
        w = np.maximum.reduceat(right, first) - x + 1
        h = np.maximum.reduceat(bottom, first) - y + 1
        box[row[first]] = np.stack([x, y, w, h], axis=1)
    return box


def to_bitmap(counts: Ints, width: int, height: int) -> Mask:
    """One mask as rows of pixels; its runs must cover width x height pixels."""
    values: Mask = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return values.reshape(width, height).T


def from_bitmap(bitmap: Mask) -> Ints:
    """The runs of one mask."""
    flat = np.asarray(bitmap, np.bool_).T.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate([[0], changes, [len(flat)]]).astype(np.int64)
    counts: Ints = np.diff(edges) if len(flat) else np.zeros(0, np.int64)
    return np.concatenate([np.zeros(1, np.int64), counts]) if flat[:1].any() else counts


def _bytes_of(texts: pa.Array) -> tuple[npt.NDArray[np.uint8], Ints, Ints]:
    """All bytes, the bounds of each text in them, and the lengths."""
    texts = texts.fill_null(b"")
    _, offsets, data = texts.buffers()
    size = len(texts)
    at = np.frombuffer(offsets, np.int32, size + 1, texts.offset * 4).astype(np.int64)
    flat = np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8)
    return flat[at[0] : at[-1]], at - at[0], np.diff(at)


def _undone(values: Ints, starts: Ints) -> Ints:
    """Runs from differences: the odd ones add up among themselves, the even ones from 2 on."""
    number = _number(starts)
    row = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    counts = values.copy()
    for chosen in (number % 2 == 1, (number % 2 == 0) & (number >= 2)):
        counts[chosen] = _running(values[chosen], row[chosen])
    return counts


def _differences(counts: Ints, starts: Ints) -> Ints:
    number = _number(starts)
    values = counts.copy()
    later = np.flatnonzero(number > 2)
    values[later] = counts[later] - counts[later - 2]
    return values


def _running(values: Ints, row: npt.NDArray[np.intp]) -> Ints:
    """Running sums that start anew with each row."""
    sums: Ints = np.cumsum(values)
    if not len(sums):
        return sums
    first = np.flatnonzero(np.concatenate([[True], row[1:] != row[:-1]]))
    before: Ints = np.repeat((sums - values)[first], np.diff(np.append(first, len(sums))))
    return sums - before


def _without(runs: Runs, bad: Mask) -> Runs:
    if not bad.any():
        return runs
    row = np.repeat(np.arange(len(runs)), _sizes(runs))
    return Runs(runs.counts[~bad[row]], _starts(np.where(bad, 0, _sizes(runs))))


def _sizes(runs: Runs) -> Ints:
    return np.diff(runs.starts)


def _starts(sizes: npt.NDArray[np.intp]) -> Ints:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]).astype(np.int64)


def _number(starts: Ints) -> Ints:
    """0, 1, 2, ... within each part."""
    return np.arange(starts[-1]) - np.repeat(starts[:-1], np.diff(starts))


def _sums(values: npt.NDArray[np.int64] | Mask, starts: Ints) -> Ints:
    """The sum of each part; 0 where a part is empty."""
    total: Ints = np.concatenate([np.zeros(1, np.int64), np.cumsum(values, dtype=np.int64)])
    return total[starts[1:]] - total[starts[:-1]]
