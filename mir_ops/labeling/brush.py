"""Label Studio's run lengths of brush masks: a bit stream over the RGBA bytes of an image.

32 bits: how many words; 5 bits: bits of a word, less one; four times 4 bits: sizes of a length,
less one. Then blocks: one bit whether it is a run, two bits which size its length has, the length
less one, and one word for a run, or as many words as the length says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

MOST_BYTES: Final = 4 << 20  # of one mask, encoded; a drawn one of 24 megapixels has a tenth
_WORD: Final = 8
_SIZES: Final = (3, 4, 8, 16)
_SEEN: Final = 128  # brushes have soft edges; from here on a pixel is in the mask


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
    words = _Bits(data).words(4 * width * height)
    return np.asarray(words.reshape(height, width, 4)[..., 3] >= _SEEN, np.bool_)


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


class _Bits:
    """Reads numbers of some bits each; the end of the data is an error."""

    def __init__(self, data: Bytes) -> None:
        self._bits = np.unpackbits(data)
        self._at = 0

    def words(self, expected: int) -> Bytes:
        count, word = self._number(32), self._number(5) + 1
        sizes = [self._number(4) + 1 for _ in range(4)]
        if count != expected or word != _WORD:
            raise BrushError("of another image")
        found, filled = np.zeros(expected, np.uint8), 0
        while filled < expected:
            is_run = self._number(1)
            length = self._number(sizes[self._number(2)]) + 1
            if filled + length > expected:
                raise BrushError("longer than its image")
            found[filled : filled + length] = self._number(8) if is_run else self._bytes(length)
            filled += length
        return found

    def _number(self, size: int) -> int:
        end = self._at + size
        if end > len(self._bits):
            raise BrushError("cut off")
        value = 0
        for bit in self._bits[self._at : end].tolist():
            value = value << 1 | bit
        self._at = end
        return value

    def _bytes(self, count: int) -> Bytes:
        end = self._at + 8 * count
        if end > len(self._bits):
            raise BrushError("cut off")
        taken = np.packbits(self._bits[self._at : end])
        self._at = end
        return taken
