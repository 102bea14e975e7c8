"""Which images a round picks, and why."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mir_ops import mining
from mir_ops.errors import InvalidInputError
from mir_ops.store import schema


def asset(name: object) -> bytes:
    return hashlib.sha256(str(name).encode()).digest()


def table_of(ids: Sequence[bytes]) -> pa.Table:
    return pa.table({"asset_id": pa.array(list(ids), schema.ASSET_ID)})


def predicted(
    rows: Sequence[tuple[bytes, int, float, dict[int, float] | None]],
) -> pa.Table:
    return pa.table(
        {
            "asset_id": pa.array([row[0] for row in rows], schema.ASSET_ID),
            "annotation_id": pa.array(range(len(rows)), pa.uint64()),
            "class_id": pa.array([row[1] for row in rows], pa.int32()),
            "confidence": pa.array([row[2] for row in rows], pa.float32()),
            "class_probs": pa.array(
                [None if row[3] is None else list(row[3].items()) for row in rows],
                schema.PREDICTIONS.field("class_probs").type,
            ),
        }
    )


def pick(
    strategy: str,
    assets: Sequence[bytes],
    rows: Sequence[tuple[bytes, int, float, dict[int, float] | None]] = (),
    *,
    budget: int = 1,
    seed: int = 7,
    class_ids: Sequence[int] = (0, 1),
) -> dict[bytes, dict[str, object]]:
    table = mining.select(
        strategy,
        assets=table_of(assets),
        predictions=predicted(rows),
        class_ids=class_ids,
        budget=budget,
        seed=seed,
    )
    assert table.schema == schema.SCORES
    table.validate(full=True)
    return {row["asset_id"]: row for row in table.to_pylist()}


A, B, C = sorted([asset("a"), asset("b"), asset("c")])
GOLDEN_DRAWS = [0.184978522, 0.750341009, 0.825830235]


def test_entropy_of_a_box_with_a_confidence_alone_is_that_of_a_coin() -> None:
    scores = pick("entropy", [A, B], [(A, 0, 0.5, None), (B, 0, 0.25, None)])

    assert scores[A]["score"] == 1.0
    assert scores[B]["score"] == pytest.approx(0.811278, abs=1e-6)
    assert scores[A]["rank"] == 0
    assert scores[B]["rank"] is None
    assert (
        scores[A]["reason"]
        == "entropy 1 bits: class 0 at confidence 0.5 is the least certain of 1 boxes"
    )


def test_entropy_comes_from_class_probabilities_where_there_are_any() -> None:
    scores = pick("entropy", [A, B], [(A, 0, 0.9, {0: 0.5, 1: 0.25}), (B, 0, 0.9, {0: 0.9})])

    # Outcomes of A: a half, a quarter, and the quarter that is left.
    assert scores[A]["score"] == pytest.approx(1.5)
    assert scores[B]["score"] == pytest.approx(-0.9 * math.log2(0.9) - 0.1 * math.log2(0.1))


def test_class_probabilities_above_one_in_sum_are_scaled() -> None:
    scores = pick("entropy", [A], [(A, 0, 1.0, {0: 1.0, 1: 1.0})])

    assert scores[A]["score"] == 1.0


def test_classes_outside_the_project_do_not_count() -> None:
    scores = pick(
        "entropy",
        [A, B],
        [(A, 0, 0.9, {0: 0.5, 1: 0.5}), (A, 1, 0.5, None), (B, 1, 0.5, None)],
        class_ids=[0],
    )

    assert scores[A]["score"] == 1.0
    assert "no predicted boxes" in str(scores[B]["reason"])


def test_the_least_certain_box_decides_and_not_how_many_there_are() -> None:
    scores = pick("entropy", [A, B], [(A, 0, 0.5, None)] + [(B, 0, 0.1, None)] * 50)

    assert scores[A]["rank"] == 0
    assert scores[B]["score"] == pytest.approx(0.468996, abs=1e-6)


def test_the_score_does_not_depend_on_the_chunks_that_boxes_come_in() -> None:
    rows = [(A, 0, 0.1, None), (B, 0, 0.9, {0: 0.9}), (A, 1, 0.1, {1: 0.5}), (A, 1, 0.5, None)]
    whole = predicted(rows)
    parts = pa.concat_tables([whole.slice(2, 2), whole.slice(0, 1), whole.slice(1, 1)])

    for predictions in (whole, parts, whole.slice(0, 4)):
        table = mining.select(
            "entropy",
            assets=table_of([B, A]),
            predictions=predictions,
            class_ids=[0, 1],
            budget=1,
            seed=0,
        )
        assert table.column("score").to_pylist() == pytest.approx([1.0, 0.468996], abs=1e-6)
        components = dict(table.column("components")[0].as_py())
        expected = {"entropy": 1.0, "total": 2.468996, "boxes": 3.0}
        assert components == pytest.approx(expected, abs=1e-6)


def test_images_without_boxes_are_picked_about_as_often_as_they_occur() -> None:
    unseen = [asset(f"unseen {n}") for n in range(1000)]
    seen = [asset(f"seen {n}") for n in range(1000)]
    rows = [(one, 0, 0.001 + 0.0004 * n, None) for n, one in enumerate(seen)]

    scores = pick("entropy", unseen + seen, rows, budget=400)

    picked = sum(scores[one]["rank"] is not None for one in unseen)
    assert 150 < picked < 250
    assert scores[unseen[0]]["reason"] == "no predicted boxes: placed by chance with seed 7"


def test_without_any_box_entropy_picks_at_random() -> None:
    assets = [asset(n) for n in range(50)]

    entropy = pick("entropy", assets, budget=10)
    random = pick("random", assets, budget=10)

    assert {a: row["rank"] for a, row in entropy.items()} == {
        a: row["rank"] for a, row in random.items()
    }


def test_ties_go_to_the_smaller_asset_id() -> None:
    scores = pick("entropy", [C, A, B], [(x, 0, 0.5, None) for x in (C, B, A)], budget=2)

    assert [scores[x]["rank"] for x in (A, B, C)] == [0, 1, None]


def test_random_depends_on_the_seed_and_the_asset_alone() -> None:
    assets = [asset(n) for n in range(1000)]

    first = pick("random", assets, budget=100, seed=1)
    again = pick("random", assets[::-1], budget=100, seed=1)
    other = pick("random", assets, budget=100, seed=2)
    fewer = pick("random", assets[:500], budget=100, seed=1)

    assert first == again
    both = [a for a in assets if first[a]["rank"] is not None and other[a]["rank"] is not None]
    assert len(both) < 30
    assert all(first[a]["score"] == fewer[a]["score"] for a in assets[:500])


def test_random_draws_never_change() -> None:
    # A new number here means that a repeated round would pick other images than the first time.
    scores = pick("random", [A, B, C], seed=42)

    assert [scores[x]["score"] for x in (A, B, C)] == GOLDEN_DRAWS


def test_random_draws_are_spread_evenly() -> None:
    scores = pick("random", [asset(n) for n in range(5000)], seed=3)

    draws = np.array([row["score"] for row in scores.values()], dtype=float)

    assert np.histogram(draws, bins=10, range=(0, 1))[0].min() > 400


@settings(max_examples=40)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from([asset(n) for n in range(6)]),
            st.integers(0, 2),
            st.floats(0, 1, width=32),
            st.none() | st.dictionaries(st.integers(0, 2), st.floats(0, 1, width=32)),
        ),
        max_size=12,
    ),
    budget=st.integers(1, 8),
    strategy=st.sampled_from(sorted(mining.strategies())),
    seed=st.integers(-(2**70), 2**70),
)
def test_the_pick_is_the_highest_scores_once_each(
    rows: list[tuple[bytes, int, float, dict[int, float] | None]],
    budget: int,
    strategy: str,
    seed: int,
) -> None:
    assets = [asset(n) for n in range(5)]

    scores = pick(strategy, assets, rows, budget=budget, seed=seed)

    assert set(scores) == set(assets)
    ranked = sorted(assets, key=lambda a: (-float(str(scores[a]["score"])), a))
    assert [scores[a]["rank"] for a in ranked] == [
        n if n < budget else None for n in range(len(ranked))
    ]
    assert all(scores[a]["reason"] for a in assets)


def test_a_candidate_listed_twice_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="listed twice") as caught:
        pick("random", [A, B, A])
    assert caught.value.code == "duplicate-candidate"


@pytest.mark.parametrize("confidence", [float("nan"), 1.5, -0.1])
def test_confidence_that_is_none_is_refused(confidence: float) -> None:
    with pytest.raises(InvalidInputError, match="not between 0 and 1"):
        pick("entropy", [A], [(A, 0, confidence, None)])
    with pytest.raises(InvalidInputError, match="not between 0 and 1"):
        pick("entropy", [A], [(A, 0, 0.5, {0: confidence})])


def test_unknown_strategy_is_refused_with_a_close_name() -> None:
    with pytest.raises(InvalidInputError) as caught:
        pick("entrpy", [A])
    assert str(caught.value) == "No mining strategy named `entrpy`"
    assert caught.value.hint == "Did you mean `entropy`?"


def test_budget_below_one_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="The mining budget is 0"):
        pick("random", [A], budget=0)


def test_no_candidates_give_an_empty_table() -> None:
    assert pick("entropy", []) == {}


def test_two_hundred_thousand_candidates_take_a_moment() -> None:
    rng = np.random.default_rng(0)
    size, boxes = 200_000, 600_000
    ids = pa.Array.from_buffers(schema.ASSET_ID, size, [None, pa.py_buffer(rng.bytes(32 * size))])
    predictions = pa.table(
        {
            "asset_id": ids.take(pa.array(rng.integers(0, size, boxes))),
            "annotation_id": pa.array(np.arange(boxes), pa.uint64()),
            "class_id": pa.array(rng.integers(0, 10, boxes), pa.int32()),
            "confidence": pa.array(rng.random(boxes), pa.float32()),
        }
    )

    table = mining.select(
        "entropy",
        assets=pa.table({"asset_id": ids}),
        predictions=predictions,
        class_ids=range(10),
        budget=1000,
        seed=0,
    )

    assert table.num_rows == size
    assert table.column("rank").null_count == size - 1000


def test_a_strategy_of_ones_own_is_a_function() -> None:
    @mining.register("test-first", "The first images by id")
    def first(candidates: mining.Candidates) -> mining.Scored:
        score = -np.arange(len(candidates), dtype=np.float64)
        return mining.Scored(score=score, reason=pa.array(["by id"] * len(candidates)))

    scores = pick("test-first", [C, B, A], budget=1)

    assert scores[A]["rank"] == 0
    assert mining.strategies()["test-first"] == "The first images by id"
    with pytest.raises(ValueError, match="registered already"):
        mining.register("test-first", "again")(first)
