"""Label Studio's run lengths of brush masks: a bit stream over the RGBA bytes of an image.

32 bits: how many words; 5 bits: bits of a word, less one; four times 4 bits: sizes of a length,
less one. Then blocks: one bit whether it is a run, two bits which size its length has, the length
less one, and one word for a run, or as many words as the length says. Brushes have soft edges: a
pixel is in the mask from 128 on.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

Longs = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

MOST_BYTES: Final = 4 << 20  # of one mask, encoded; a drawn one of 24 megapixels has a tenth
_WORD: Final = 8
_HEAD: Final = 7  # bytes that hold what comes before the blocks
_SIZES: Final = (3, 4, 8, 16)


class BrushError(ValueError):
    """The bytes are no run lengths of an image of this size."""


def read_brush(encoded: Sequence[object], width: int, height: int) -> Mask:
    """The mask, height x width, that a list of bytes holds."""
    if len(encoded) > MOST_BYTES:
        raise BrushError("too long")
    try:
        data = np.asarray(encoded, np.uint8)
    except (TypeError, ValueError, OverflowError):
        raise BrushError("not bytes") from None
    if data.ndim != 1 or data.tolist() != list(encoded):
        raise BrushError("not bytes")
    seen, counts = _alpha(data.tobytes(), 4 * width * height)
    return np.repeat(seen, counts).reshape(height, width)


def write_brush(mask: Mask) -> list[int]:
    """The bytes with which Label Studio draws the mask again."""
    flat = np.asarray(mask, np.bool_).ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate([[0], edges])
    lengths = 4 * np.diff(np.concatenate([starts, [len(flat)]]))
    bits = [f"{4 * len(flat):032b}", f"{_WORD - 1:05b}", *(f"{size - 1:04b}" for size in _SIZES)]
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        value = 255 if flat[start] else 0
        for part in _parts(length):
            which = next(at for at, size in enumerate(_SIZES) if part <= 1 << size)
            bits.append(f"1{which:02b}{part - 1:0{_SIZES[which]}b}{value:08b}")
    text = "".join(bits)
    packed = np.packbits(np.frombuffer(text.encode(), np.uint8) - ord("0"))
    return packed.tolist()


def _parts(length: int) -> list[int]:
    most = 1 << _SIZES[-1]
    return [most] * (length // most) + ([length % most] if length % most else [])


def _alpha(data: bytes, words: int) -> tuple[Mask, npt.NDArray[np.int64]]:
    """Runs of pixels, row by row: whether they are in the mask, and how many they are."""
    starts, ends, at, is_run = _blocks(data, words)
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    literal = np.repeat(at[~is_run], lengths := (ends - starts)[~is_run])
    first = np.repeat(np.cumsum(lengths) - lengths, lengths)
    step = np.arange(len(literal)) - first  # which word of its block
    literal += _WORD * step
    starts = np.concatenate([starts[is_run], np.repeat(starts[~is_run], lengths) + step])
    ends = np.concatenate([ends[is_run], starts[is_run.sum() :] + 1])
    at = np.concatenate([at[is_run], literal])
    order = np.argsort(starts, kind="stable")
    # From 128 on, the word's first bit is set; of each pixel's four words the last one counts.
    return bits[at[order]].astype(np.bool_), (ends // 4 - starts // 4)[order]


def _blocks(data: bytes, words: int) -> tuple[Longs, Longs, Longs, Mask]:
    """Of each block: its first word and the one after its last, the bit where what it holds
    begins, and whether it is a run."""
    head = int.from_bytes(data[:_HEAD], "big")
    if len(data) < _HEAD:
        raise BrushError("cut off")
    sizes = [(head >> shift & 15) + 1 for shift in (15, 11, 7, 3)]
    if head >> 24 != words or (head >> 19 & 31) + 1 != _WORD:
        raise BrushError("of another image")
    found, at, filled, end = array("q"), 32 + 5 + 4 * 4, 0, 8 * len(data)
    add, number = found.extend, int.from_bytes
    while filled < words:  # where a block ends, only its length says
        block = number(data[at >> 3 : (at >> 3) + 4].ljust(4, b"\0"), "big") << (at & 7)
        size = sizes[block >> 29 & 3]
        start, filled = filled, filled + (block >> 29 - size & (1 << size) - 1) + 1
        at += 3 + size
        run = block >> 31 & 1
        add((start, filled, at, run))
        at += _WORD if run else _WORD * (filled - start)
        if at > end or filled > words:
            raise BrushError("cut off" if at > end else "longer than its image")
    columns = np.frombuffer(found, np.int64).reshape(-1, 4)
    return columns[:, 0], columns[:, 1], columns[:, 2], columns[:, 3].astype(np.bool_)
