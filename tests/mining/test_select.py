"""Which images a round picks, and why."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import asset, pick, picked, predicted, select, table_of

from mir_ops import mining
from mir_ops.errors import InvalidInputError
from mir_ops.store import schema

A, B, C = sorted([asset("a"), asset("b"), asset("c")])
BY_SCORE = ("random", "entropy", "least-confidence", "margin", "class-rarity", "hybrid", "k-center")
GOLDEN_DRAWS = [0.184978522, 0.750341009, 0.825830235]


def test_entropy_of_a_box_with_a_confidence_alone_is_that_of_a_coin() -> None:
    scores = pick("entropy", [A, B], [(A, 0, 0.5, None), (B, 0, 0.25, None)])

    assert scores[A]["score"] == 1.0
    assert scores[B]["score"] == pytest.approx(0.811278, abs=1e-6)
    assert scores[A]["rank"] == 0
    assert scores[B]["rank"] is None
    said = "entropy 1.000 bits, highest of 1 boxes; least certain: `cat` at 0.50"
    assert scores[A]["reason"] == said
    assert scores[B]["reason"] is None


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
        classes={0: "cat"},
        budget=2,
    )

    assert scores[A]["score"] == 1.0
    assert "nothing found" in str(scores[B]["reason"])


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
            classes={0: "cat", 1: "dog"},
            budget=1,
            seed=0,
        ).scores
        assert table.column("score").to_pylist() == pytest.approx([1.0, 0.468996], abs=1e-6)
        components = dict(table.column("components")[0].as_py())
        expected = {"entropy": 1.0, "boxes": 3.0}
        assert components == pytest.approx(expected, abs=1e-6)


def test_images_without_boxes_are_picked_about_as_often_as_they_occur() -> None:
    unseen = [asset(f"unseen {n}") for n in range(1000)]
    seen = [asset(f"seen {n}") for n in range(1000)]
    rows = [(one, 0, 0.001 + 0.0004 * n, None) for n, one in enumerate(seen)]

    scores = pick("entropy", unseen + seen, rows, budget=400)

    picked = sum(scores[one]["rank"] is not None for one in unseen)
    assert 150 < picked < 250
    reasons = {scores[one]["reason"] for one in unseen}
    assert reasons == {None, "nothing found: placed by chance with seed 7"}


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
    strategy=st.sampled_from(BY_SCORE),
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
    assert all(scores[a]["reason"] for a in ranked[:budget])


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
        classes={number: str(number) for number in range(10)},
        budget=1000,
        seed=0,
    ).scores

    assert table.num_rows == size
    assert table.column("rank").null_count == size - 1000


def test_a_strategy_of_ones_own_is_a_function() -> None:
    @mining.register("test-first", "The first images by id")
    def first(candidates: mining.Candidates, *, least: int = 0) -> mining.Scored:
        score = least - np.arange(len(candidates), dtype=np.float64)
        return mining.Scored(score=score, reason=lambda one: f"number {one} by id")

    scores = pick("test-first", [C, B, A], budget=1, parameters={"least": 5})

    assert (scores[A]["rank"], scores[A]["score"], scores[A]["reason"]) == (0, 5, "number 0 by id")
    assert mining.strategies()["test-first"] == "The first images by id"
    with pytest.raises(ValueError, match="registered already"):
        mining.register("test-first", "again")(first)


@pytest.mark.parametrize(
    ("strategy", "parameters", "message", "hint"),
    [
        (
            "hybrid",
            {"shortlst": 3.0},
            "Mining strategy `hybrid` has no parameter `shortlst`",
            "Did you mean `shortlist`?",
        ),
        (
            "random",
            {"top": 3},
            "Mining strategy `random` has no parameter `top`",
            "It takes none",
        ),
        (
            "entropy",
            {"top": 0},
            "Parameters of mining strategy `entropy`: `top`: Input should be greater than or equal "
            "to 1",
            "Correct the value, or leave it out: each has a default",
        ),
        (
            "entropy",
            {"aggregate": "median"},
            "Parameters of mining strategy `entropy`: `aggregate`: Input should be 'max', 'mean', "
            "'sum' or 'top'",
            "Correct the value, or leave it out: each has a default",
        ),
    ],
)
def test_parameters_that_are_wrong_are_refused(
    strategy: str, parameters: dict[str, object], message: str, hint: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        select(strategy, [A], parameters=parameters)
    assert str(caught.value) == message
    assert caught.value.hint == hint


def test_what_a_strategy_gives_back_is_checked() -> None:
    mining.register("test-nan", "")(
        lambda candidates: mining.Scored(score=np.full(len(candidates), np.nan), reason=str)
    )
    mining.register("test-twice", "")(
        lambda candidates: mining.Scored(
            score=np.zeros(len(candidates)), reason=str, order=np.array([0, 0])
        )
    )

    with pytest.raises(ValueError, match="one finite score per candidate"):
        select("test-nan", [A])
    with pytest.raises(ValueError, match="picks a candidate twice"):
        select("test-twice", [A])


def test_the_rows_of_an_asset_may_come_in_any_order_and_place() -> None:
    ids = [asset(n) for n in range(40)]
    rows = [(ids[n % 40], n % 2, (n % 9 + 1) / 10, {0: 0.3, 1: (n % 7) / 10}) for n in range(200)]
    table = predicted(rows)
    mixed = table.take(pa.array(np.random.default_rng(1).permutation(200)))

    for strategy in BY_SCORE:
        more = {"assets": table_of(ids), "classes": {0: "cat", 1: "dog"}, "budget": 9, "seed": 1}
        one = mining.select(strategy, predictions=table, **more)
        other = mining.select(strategy, predictions=mixed, **more)
        assert one.scores.equals(other.scores)


def test_ids_that_begin_alike_are_told_apart() -> None:
    ids = [bytes(8) + bytes([number]) * 24 for number in range(5)]

    assert picked("entropy", ids, [(ids[3], 0, 0.5, None), (ids[1], 0, 0.1, None)]) == [ids[3]]
