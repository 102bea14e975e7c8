"""What a strategy sees: the candidates in order of their ids, their boxes as flat columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Matrix = npt.NDArray[np.float32]

_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_STEP = 0x9E3779B97F4A7C15
_FINE = 1 << 20  # the digits of a draw below this part are as random as the draw


@dataclass(frozen=True, slots=True, kw_only=True)
class Boxes:
    """Predicted boxes of the candidates, one entry per box, sorted by `owner`.

    `owner` is the box's position among the candidates. The class shares of box `i`, if its
    executor gave any, are `shares[share_start[i]:share_start[i + 1]]`, of the classes
    `share_class[…]`: those of the project's classes only.
    """

    owner: Integers
    class_id: Integers
    confidence: Floats
    share_start: Integers
    shares: Floats
    share_class: Integers

    def __len__(self) -> int:
        return len(self.owner)

    def share_owner(self) -> Integers:
        """For each share the number of its box."""
        return np.repeat(np.arange(len(self)), np.diff(self.share_start))


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """One vector per image: that of image `i` is `matrix[rows[i]]`; -1 is an image without."""

    matrix: Matrix
    rows: Integers

    def known(self) -> Integers:
        """The images that have a vector."""
        return np.flatnonzero(self.rows >= 0)

    def of(self, images: Integers) -> Matrix:
        """Their vectors, in this order; no copy where it is all of them."""
        rows = self.rows[images]
        whole = len(rows) == len(self.matrix) and (rows == np.arange(len(rows))).all()
        return self.matrix if whole else self.matrix[rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """What is labelled already: boxes of each class, and the images' vectors by the same model."""

    boxes: Mapping[int, int] = field(default_factory=dict)
    asset_ids: pa.Array | None = None  # of the rows of `vectors`
    vectors: Matrix | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """`wanted` is how many a strategy that picks one after the other has to put in order."""

    asset_ids: pa.Array  # sorted, no repeats
    boxes: Boxes
    classes: Mapping[int, str]
    wanted: int
    seed: int
    vectors: Vectors | None = None
    labelled: Labelled | None = None
    ranking: Floats | None = None  # the executor's own scores; NaN where it gave none

    def __len__(self) -> int:
        return len(self.asset_ids)

    def box_counts(self) -> Integers:
        """Predicted boxes of each candidate."""
        return np.bincount(self.boxes.owner, minlength=len(self)).astype(np.int64)

    def draws(self) -> Floats:
        """One number in [0, 1) per candidate, by the seed."""
        return draws_of(self.asset_ids, self.seed)

    def place_unseen(self, score: Floats, seen: Flags) -> Floats:
        """The scores, with images on which nothing was seen placed by chance among the others.

        Nothing is known of them but that they may hold what the model misses. So they are spread
        over the scores of the others, in the order of their draws: they are picked about as often
        as they occur, in later rounds too, when those with the highest draws have been picked.
        Where nothing was seen anywhere the draws are the scores.
        """
        if seen.all():
            return score
        draws = self.draws()
        if not seen.any():
            return draws
        unseen = np.flatnonzero(~seen)
        rising = unseen[np.argsort(draws[unseen], kind="stable")]
        within = draws[rising] * _FINE % 1.0  # where in its part of the scores each is: by chance
        placed = score.copy()
        placed[rising] = np.quantile(score[seen], (np.arange(len(rising)) + within) / len(rising))
        return placed


def draws_of(asset_ids: pa.Array, seed: int) -> Floats:
    """One number in [0, 1) per asset, made of the seed and the asset's id alone.

    An asset keeps its draw whoever else is there, on every machine and in every version of numpy.
    """
    words = words_of(asset_ids)
    mixed = np.full(len(asset_ids), _seed_word(seed), dtype=np.uint64)
    for column in range(4):
        mixed = _mix(mixed ^ words[:, column].astype(np.uint64))
    return (mixed >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def sum_by(owner: Integers, values: Floats, size: int) -> Floats:
    """Entry `i` is the sum of the values whose owner is `i`."""
    # Without any values numpy counts in integers.
    return np.bincount(owner, weights=values, minlength=size).astype(np.float64)


def words_of(ids: pa.Array) -> npt.NDArray[np.uint64]:
    """Asset ids as four big-endian numbers each: they compare as the ids do. No copy."""
    width = ids.type.byte_width
    data = memoryview(ids.buffers()[1] or b"")
    part = data[ids.offset * width : (ids.offset + len(ids)) * width]
    return np.frombuffer(part, dtype=">u8").reshape(-1, 4)


def _seed_word(seed: int) -> np.uint64:
    return np.uint64((seed * _STEP + _STEP) % (1 << 64))


def _mix(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finalizer of splitmix64."""
    words = (words ^ (words >> np.uint64(30))) * _MIX[0]
    words = (words ^ (words >> np.uint64(27))) * _MIX[1]
    return words ^ (words >> np.uint64(31))
