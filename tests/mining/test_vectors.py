"""Distances without rounding, and the picks that follow from them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mir_ops.errors import InvalidInputError
from mir_ops.mining.candidates import Matrix
from mir_ops.mining.vectors import Grid, k_center, nearest


def plain_k_center(
    vectors: Matrix, wanted: int, centers: Matrix | None, first: int, weights: list[int]
) -> list[int]:
    """As a textbook has it, in whole numbers of Python."""

    def apart(one: list[int], other: list[int]) -> int:
        return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))

    points = [[round(float(x) * 8) for x in row] for row in vectors]
    there = [] if centers is None else [[round(float(x) * 8) for x in row] for row in centers]
    picks = [] if there else [first]
    there += [points[one] for one in picks]
    while len(picks) < min(wanted, len(points)):
        least = [
            -1 if number in picks else weight * min(apart(point, center) for center in there)
            for number, (point, weight) in enumerate(zip(points, weights, strict=True))
        ]
        picks.append(least.index(max(least)))
        there.append(points[picks[-1]])
    return picks[:wanted]


EIGHTHS = st.integers(-40, 40).map(lambda number: number / 8)


@given(
    points=st.lists(st.tuples(EIGHTHS, EIGHTHS, EIGHTHS), min_size=1, max_size=150),
    centers=st.none() | st.lists(st.tuples(EIGHTHS, EIGHTHS, EIGHTHS), min_size=1, max_size=5),
    wanted=st.integers(1, 20),
    first=st.integers(0, 10**6),
    weights=st.none() | st.lists(st.integers(1, 9), min_size=150, max_size=150),
)
def test_k_center_picks_what_the_textbook_picks(
    points: list[tuple[float, float, float]],
    centers: list[tuple[float, float, float]] | None,
    wanted: int,
    first: int,
    weights: list[int] | None,
) -> None:
    vectors = np.array(points, np.float32)
    there = None if centers is None else np.array(centers, np.float32)
    start = first % len(points)
    heavy = None if weights is None else np.array(weights[: len(points)], np.float64)

    picks, apart = k_center(
        vectors, wanted, grid=Grid.over(vectors), centers=there, first=start, weights=heavy
    )

    plain = (weights or [1] * len(points))[: len(points)]
    assert picks.tolist() == plain_k_center(vectors, wanted, there, start, plain)
    assert weights or (np.diff(apart) <= 0).all()


def test_k_center_over_many_blocks_is_that_over_one(monkeypatch: pytest.MonkeyPatch) -> None:
    dice = np.random.default_rng(3)
    middles = dice.normal(size=(20, 16))
    vectors = (middles[dice.integers(0, 20, 9000)] + dice.normal(size=(9000, 16)) * 0.1).astype(
        np.float32
    )
    vectors[5000:5100] = vectors[100:200]
    grid = Grid.over(vectors)
    weights = dice.uniform(0.1, 1, 9000)

    several = k_center(vectors, 200, grid=grid, first=17, weights=weights)
    monkeypatch.setattr("mir_ops.mining.vectors._BLOCKS", 1)
    monkeypatch.setattr("mir_ops.mining.vectors._LARGEST_BLOCK", 10**6)
    one = k_center(vectors, 200, grid=grid, first=17, weights=weights)

    assert several[0].tolist() == one[0].tolist()
    assert several[1].tolist() == one[1].tolist()
    assert len(set(several[0].tolist())) == 200


def test_equal_vectors_are_picked_in_the_order_of_their_places() -> None:
    vectors = np.ones((300, 4), np.float32)

    picks, apart = k_center(vectors, 5, grid=Grid.over(vectors), first=2)

    assert picks.tolist() == [2, 0, 1, 3, 4]
    assert apart.tolist() == [math.inf, 0, 0, 0, 0]


def test_the_order_of_additions_does_not_matter() -> None:
    dice = np.random.default_rng(5)
    vectors = (dice.normal(size=(400, 256)) * 1e6).astype(np.float32)
    turned = np.ascontiguousarray(vectors[:, ::-1])
    for distance in ("euclidean", "cosine"):
        picks = [
            k_center(each, 60, grid=Grid.over(each, distance=distance), first=0)  # type: ignore[arg-type]
            for each in (vectors, turned)
        ]
        assert picks[0][0].tolist() == picks[1][0].tolist()
        assert picks[0][1].tolist() == picks[1][1].tolist()


def test_cosine_does_not_see_lengths() -> None:
    vectors = np.array([[1, 0], [1000, 0], [0, 1e-3], [0, 0]], np.float32)

    picks, apart = k_center(vectors, 4, grid=Grid.over(vectors, distance="cosine"))

    assert picks.tolist() == [0, 2, 3, 1]
    assert apart[1] == pytest.approx(math.sqrt(2), abs=1e-5)


def test_the_nearest_of_equals_is_the_first() -> None:
    vectors = np.array([[0, 0], [5, 5]], np.float32)
    others = np.array([[9, 9], [3, 4], [4, 3]], np.float32)

    found, apart = nearest(vectors, others, Grid.over(vectors, others))

    assert found.tolist() == [1, 1]
    assert apart == pytest.approx([5, math.sqrt(5)])


def test_vectors_of_two_models_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="Vectors of different lengths: 2, 3") as caught:
        Grid.over(np.zeros((1, 2), np.float32), np.zeros((1, 3), np.float32))
    assert caught.value.code == "vector-size"
