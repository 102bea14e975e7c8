"""Distances between images, exact on every machine, and what is chosen by them."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from mir_ops.errors import InvalidInputError
from mir_ops.mining.candidates import Floats, Integers, Matrix

Numbers = npt.NDArray[np.float32]
Distance = Literal["euclidean", "cosine"]

_LARGEST_BLOCK, _SMALLEST_BLOCK, _BLOCKS = 4096, 64, 256
_CENTERS_AT_ONCE = 64
# OpenBLAS works on less with one thread: multiply-adds of a matrix, numbers of a vector's product.
_ALONE, _ALONE_VECTOR = 1 << 18, 9000
_ROWS = 32  # of a product in 32 bits: more were slower
_EXACT = 52  # whole numbers below 2^52 are exact in float64, in whichever order they are added


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Vectors as whole numbers, so that sums of their products have no rounding.

    Libraries for matrices add in an order of their own on each processor; with rounding, the last
    digit would decide between images that are as good.
    """

    scale: float
    cosine: bool

    @classmethod
    def over(cls, *parts: Matrix, distance: Distance = "euclidean") -> Grid:
        """The finest grid on which distances between these vectors are exact."""
        sizes = {part.shape[1] for part in parts}
        if len(sizes) > 1:
            raise InvalidInputError(
                f"Vectors of different lengths: {', '.join(map(str, sorted(sizes)))}",
                code="vector-size",
                hint="Take the embeddings of all images from one model",
            )
        bits = (_EXACT - math.ceil(math.log2(max(2, *sizes)))) // 2 - 2
        largest = 1.0 if distance == "cosine" else max(_largest(part) for part in parts)
        return cls(scale=2.0 ** (bits - math.frexp(largest)[1]), cosine=distance == "cosine")

    def numbers(self, vectors: Matrix) -> Floats:
        """Whole numbers, as float64. The vector 0 has no direction, and stays where it is."""
        wide = vectors.astype(np.float64)
        if self.cosine:
            wide = _unit(wide)
        wide *= self.scale
        return np.rint(wide, out=wide)

    def distance(self, squared: Floats) -> Floats:
        """Distances in the vectors' own unit."""
        roots: Floats = np.sqrt(np.maximum(squared, 0)) / self.scale
        return roots


def squared_distances(one: Floats, other: Floats) -> Floats:
    """Between whole numbers: exact. A row for each of `one`."""
    products = _products(one, other)
    products *= -2
    products += (one * one).sum(axis=1)[:, None]
    products += (other * other).sum(axis=1)
    return products


def _products(one: Floats, other: Floats) -> Floats:
    """`one @ other.T`, in pieces so small that libraries do not spread them over threads.

    There are thousands of such products one after the other, and threads wait for each other at
    the end of each: on a busy machine that took ten times the work.
    """
    count, size = one.shape
    rows = max(1, min(_ALONE // max(1, size * len(other)), _ALONE_VECTOR // max(1, size)))
    if count <= rows:
        return one @ other.T
    whole = count - count % rows
    result = np.empty((count, len(other)))
    stacked = one[:whole].reshape(-1, rows, size)
    np.matmul(stacked, other.T, out=result[:whole].reshape(-1, rows, len(other)))
    if whole < count:
        result[whole:] = one[whole:] @ other.T
    return result


def _least(vectors: Numbers, centers: Numbers) -> Numbers:
    """For each vector the least of `center² - 2 vector center`, about."""
    count, size = vectors.shape
    rows = max(1, min(_ALONE // max(1, size * len(centers)), _ROWS))
    twice, squares = -2 * centers, (centers * centers).sum(axis=1)[:, None]
    found = np.empty(count, np.float32)
    whole = count - count % rows
    for part, into in (
        (vectors[:whole].reshape(-1, rows, size), found[:whole].reshape(-1, rows)),
        (vectors[None, whole:], found[None, whole:]),
    ):
        products = twice @ part.transpose(0, 2, 1)
        products += squares
        products.min(axis=1, out=into)
    return found


def nearest(vectors: Matrix, others: Matrix, grid: Grid) -> tuple[Integers, Floats]:
    """For each vector the nearest of the others (of equals the first), and how far it is."""
    best = np.full(len(vectors), np.inf)
    found = np.zeros(len(vectors), np.int64)
    mine = grid.numbers(vectors)
    for low in range(0, len(others), _LARGEST_BLOCK):
        squared = squared_distances(mine, grid.numbers(others[low : low + _LARGEST_BLOCK]))
        at = squared.argmin(axis=1)
        least = squared[np.arange(len(mine)), at]
        closer = least < best
        best[closer], found[closer] = least[closer], low + at[closer]
    return found, grid.distance(best)


def k_center(
    vectors: Matrix,
    wanted: int,
    *,
    grid: Grid,
    centers: Matrix | None = None,
    first: int = 0,
    weights: Floats | None = None,
) -> tuple[Integers, Floats]:
    """Pick one after the other the vector that is farthest from all centers and picks.

    The greedy algorithm of Gonzalez (1985) with its bound: no vector ends up more than twice as
    far as with the best choice. With `weights`, all above 0, the square of a vector's distance
    counts as often (the weighted problem of Dyer and Frieze, 1985). Without centers, `first` is the
    first pick. Of equals the one at the smaller position is picked. The second array is each
    pick's distance when it was picked (infinite for the first without centers).
    """
    search = _FarthestFirst(vectors, grid, weights)
    picks: list[int] = []
    distances: list[float] = []
    if centers is not None and len(centers):
        search.add(grid.numbers(centers))
    elif wanted and len(vectors):
        picks, distances = [first], [math.inf]
        search.take(first)
    while len(picks) < min(wanted, len(vectors)):
        pick, squared = search.farthest()
        picks.append(pick)
        distances.append(squared)
        search.take(pick)
    return np.array(picks, np.int64), grid.distance(np.array(distances, np.float64))


class _FarthestFirst:
    """The least distance of every vector, worked out only where it may decide.

    Distances only shrink: what a block of vectors had as its largest stays a bound. So the block
    with the largest bound is brought up to date, with all centers it has missed in one product of
    matrices, until it is the largest although it is up to date (Minoux, 1978).
    """

    def __init__(self, vectors: Matrix, grid: Grid, weights: Floats | None) -> None:
        self.weights = weights
        size = min(max(len(vectors) // _BLOCKS, _SMALLEST_BLOCK), _LARGEST_BLOCK)
        self.blocks = [
            slice(low, min(low + size, len(vectors))) for low in range(0, len(vectors), size)
        ]
        self.numbers = np.empty(vectors.shape, np.float32)  # whole, and exact in 32 bits too
        self.lengths = np.empty(len(vectors))
        for block in self.blocks:
            numbers = grid.numbers(vectors[block])
            self.numbers[block] = numbers
            self.lengths[block] = np.sqrt((numbers * numbers).sum(axis=1))
        self.best = np.full(len(vectors), np.inf)
        self.seen = [0] * len(self.blocks)
        self.heap = [(-math.inf, number) for number in range(len(self.blocks))]
        self.centers = np.zeros((0, vectors.shape[1]))
        self.count = 0

    def add(self, centers: Floats) -> None:
        """More places to be far from."""
        if self.count + len(centers) > len(self.centers):
            room = max(64, len(self.centers), len(centers))
            more = np.zeros((room, self.centers.shape[1]))
            self.centers = np.concatenate([self.centers, more])
        self.centers[self.count : self.count + len(centers)] = centers
        self.count += len(centers)

    def take(self, pick: int) -> None:
        """Make this vector a center, and never pick it again."""
        self.add(self.numbers[pick : pick + 1].astype(np.float64))
        self.best[pick] = -1.0

    def farthest(self) -> tuple[int, float]:
        """Position and squared distance; the smallest position among equals."""
        while True:
            number = self.heap[0][1]
            block = self.blocks[number]
            if self.seen[number] == self.count:
                pick = block.start + int(self._weighted(block).argmax())
                return pick, float(self.best[pick])
            self._update(number, block)
            heapq.heapreplace(self.heap, (-float(self._weighted(block).max()), number))

    def _weighted(self, block: slice) -> Floats:
        return self.best[block] if self.weights is None else self.best[block] * self.weights[block]

    def _update(self, number: int, block: slice) -> None:
        for low in range(self.seen[number], self.count, _CENTERS_AT_ONCE):
            self._compare(block, low, min(low + _CENTERS_AT_ONCE, self.count))
        self.seen[number] = self.count

    def _compare(self, block: slice, low: int, high: int) -> None:
        centers = self.centers[low:high]
        rows = block.start + self._in_question(block, centers)
        squared = squared_distances(self.numbers[rows].astype(np.float64), centers)
        self.best[rows] = np.minimum(self.best[rows], squared.min(axis=1))

    def _in_question(self, block: slice, centers: Floats) -> Integers:
        """Which vectors of a block a center may be closer to than any before.

        In 32 bits, with the most that rounding can do in any order of adding.
        """
        length, longest = self.lengths[block], math.sqrt((centers * centers).sum(axis=1).max())
        least = length * length + _least(self.numbers[block], centers.astype(np.float32))
        slack = (centers.shape[1] + 8) * 2.0**-23 * longest * (length + longest)
        return np.flatnonzero(least <= self.best[block] + slack)


def _largest(vectors: Matrix) -> float:
    if vectors.size == 0:
        return 1.0
    return max(float(vectors.max()), -float(vectors.min())) or 1.0


def _unit(vectors: Floats) -> Floats:
    """Directions of length 1, by operations that every processor rounds alike."""
    largest = np.abs(vectors).max(axis=1, initial=0)
    largest[largest == 0] = 1.0
    # On a coarser grid first: then the sum of squares is exact.
    bits = (_EXACT - math.ceil(math.log2(max(2, vectors.shape[1])))) // 2 - 2
    coarse = np.rint(vectors / largest[:, None] * 2.0**bits)
    length = np.sqrt((coarse * coarse).sum(axis=1))
    length[length == 0] = 1.0
    unit: Floats = coarse / length[:, None]
    return unit
