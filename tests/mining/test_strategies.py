"""What each strategy prefers, and what it does without."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import asset, assets, embedded, pick, picked, predicted, select

from mir_ops import mining
from mir_ops.errors import InvalidInputError
from mir_ops.store import schema

A, B, C, D = assets(4)


def labelled(boxes: dict[int, int], ids: list[bytes], vectors: object = None) -> mining.Labelled:
    if vectors is None:
        return mining.Labelled(boxes=boxes)
    return mining.Labelled(
        boxes=boxes,
        asset_ids=pa.array(ids, schema.ASSET_ID),
        vectors=np.array(vectors, np.float32),
    )


@pytest.mark.parametrize(
    ("aggregate", "first"),
    [("max", A), ("mean", A), ("sum", B), ("top", A)],
)
def test_only_the_sum_prefers_crowds(aggregate: str, first: bytes) -> None:
    rows = [(A, 0, 0.5, None)] + [(B, 0, 0.2, None)] * 5

    assert picked("entropy", [A, B], rows, parameters={"aggregate": aggregate}) == [first]


@pytest.mark.parametrize("strategy", ["entropy", "least-confidence", "margin"])
@settings(max_examples=25, deadline=None)
@given(shares=st.lists(st.integers(1, 31).map(lambda n: n / 32), min_size=1, max_size=6))
def test_boxes_add_up_as_the_aggregate_says(strategy: str, shares: list[float]) -> None:
    def score(confidences: list[float], aggregate: str) -> float:
        rows = [(A, 0, each, None) for each in confidences]
        more = {"parameters": {"aggregate": aggregate, "top": 2}}
        return float(pick(strategy, [A], rows, **more)[A]["score"])

    boxes = sorted((score([each], "max") for each in shares), reverse=True)

    assert score(shares, "max") == pytest.approx(boxes[0], abs=1e-8)
    assert score(shares, "sum") == pytest.approx(sum(boxes), abs=1e-8)
    assert score(shares, "mean") == pytest.approx(sum(boxes) / len(boxes), abs=1e-8)
    assert score(shares, "top") == pytest.approx(np.mean(boxes[:2]), abs=1e-8)


def test_the_top_is_the_mean_of_so_many() -> None:
    rows = [(A, 0, 0.5, None), (A, 0, 1.0, None), (A, 0, 0.5, None), (B, 0, 0.5, None)]

    scores = pick("entropy", [A, B], rows, parameters={"aggregate": "top", "top": 2})
    wider = pick("entropy", [A, B], rows, parameters={"aggregate": "top", "top": 3})

    assert (scores[A]["score"], scores[B]["score"]) == (1.0, 1.0)
    assert wider[A]["score"] == pytest.approx(2 / 3)


def test_least_confidence_is_what_the_likeliest_outcome_leaves() -> None:
    rows = [(A, 0, 0.9, {0: 0.5, 1: 0.2}), (B, 0, 0.3, None), (C, 0, 0.8, None)]

    scores = pick("least-confidence", [A, B, C], rows)

    assert [scores[x]["score"] for x in (A, B, C)] == pytest.approx([0.5, 0.3, 0.2], abs=1e-6)


def test_margin_is_the_lead_of_the_likeliest_outcome() -> None:
    # Outcomes: .5 .4 and .1 for none; .2 .1 and .7 for none; .45 .45 and .1; .7 and .3 for none.
    rows = [
        (A, 0, 0.9, {0: 0.5, 1: 0.4}),
        (B, 0, 0.9, {1: 0.2, 0: 0.1}),
        (C, 0, 0.9, {0: 0.45, 1: 0.45}),
        (D, 0, 0.7, None),
    ]

    scores = pick("margin", [A, B, C, D], rows)

    expected = [0.9, 0.5, 1.0, 0.6]
    assert [scores[x]["score"] for x in (A, B, C, D)] == pytest.approx(expected, abs=1e-6)


def test_rarity_prefers_what_is_seldom_labelled() -> None:
    rows = [(A, 0, 0.9, None), (B, 1, 0.6, None)]

    assert picked("class-rarity", [A, B], rows, labelled=labelled({0: 90, 1: 3}, [])) == [B]
    assert picked("class-rarity", [A, B], rows, labelled=labelled({0: 3, 1: 90}, [])) == [A]


def test_rarity_without_labels_is_that_of_the_predictions_and_says_so() -> None:
    rows = [(A, 0, 0.9, None)] + [(C, 0, 0.9, None)] * 30 + [(B, 1, 0.6, None)]

    selection = select("class-rarity", [A, B, C], rows)

    picks = selection.scores.filter(pa.compute.is_valid(selection.scores["rank"]))
    assert picks["asset_id"].to_pylist() == [B]
    assert selection.notes == (
        "the labelled classes are not known: rarity is that among the predictions",
    )


def test_k_center_keeps_away_from_what_is_labelled() -> None:
    vectors = embedded([A, B, C], [[0, 0], [10, 0], [4, 0]])
    known = labelled({}, [D], [[9, 0]])

    rows = pick("k-center", [A, B, C], budget=2, embeddings=vectors, labelled=known)

    assert [rows[x]["rank"] for x in (A, B, C)] == [0, None, 1]
    assert rows[A]["nearest"] == D
    assert rows[A]["components"] == {"distance": 9.0, "nearest_labelled": 9.0}
    assert rows[C]["components"] == {"distance": 4.0, "nearest_labelled": 5.0}
    assert rows[C]["reason"] == "4 away from all that was labelled or picked before"
    assert rows[B]["nearest"] is None


def test_k_center_without_embeddings_draws_and_says_so() -> None:
    ids = assets(30)

    selection = select("k-center", ids, budget=5)

    assert selection.notes == (
        "no embeddings: nothing is known of which images are alike; drawn at random",
    )
    assert picked("k-center", ids, budget=5) == picked("random", ids, budget=5)


def test_k_center_takes_images_without_a_vector_last() -> None:
    vectors = embedded([B, C], [[0, 0], [1, 1]])

    assert set(picked("k-center", [A, B, C], budget=2, embeddings=vectors)) == {B, C}
    assert picked("k-center", [A, B, C], budget=3, embeddings=vectors)[2] == A


def test_distinct_passes_over_what_looks_like_a_pick() -> None:
    rows = [(A, 0, 0.5, None), (B, 0, 0.45, None), (C, 0, 0.1, None)]
    vectors = embedded([A, B, C], [[1, 0], [1, 0.01], [0, 1]])

    assert picked("entropy", [A, B, C], rows, budget=2, embeddings=vectors) == [A, B]
    assert picked("distinct", [A, B, C], rows, budget=2, embeddings=vectors) == [A, C]
    scores = pick("distinct", [A, B, C], rows, budget=3, embeddings=vectors)
    assert [scores[x]["rank"] for x in (A, B, C)] == [0, 2, 1]
    assert scores[B]["components"]["passed_over"] == 1.0


def test_distinct_passes_over_what_looks_like_a_labelled_image() -> None:
    rows = [(A, 0, 0.5, None), (B, 0, 0.45, None)]
    vectors = embedded([A, B], [[1, 0], [0, 1]])
    known = labelled({}, [C], [[5, 0]])

    assert picked("distinct", [A, B], rows, embeddings=vectors, labelled=known) == [B]


def test_distinct_looks_at_the_similarity_it_is_given() -> None:
    dice = np.random.default_rng(0)
    ids = assets(1500)
    vectors = dice.normal(size=(1500, 3)).astype(np.float32)
    found = embedded(ids, vectors)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    picks = picked(
        "distinct", ids, budget=40, embeddings=found, parameters={"by": "random", "similarity": 0.9}
    )

    places = [ids.index(one) for one in picks]
    alike = unit[places] @ unit[places].T - 2 * np.eye(40)
    assert alike.max() < 0.9
    assert len(picks) == 40


def test_hybrid_takes_different_images_among_the_uncertain() -> None:
    rows = [(A, 0, 0.5, None), (B, 0, 0.5, None), (C, 0, 0.4, None), (D, 0, 0.99, None)]
    vectors = embedded([A, B, C, D], [[0, 0], [0, 1], [5, 5], [90, 90]])

    rows_of = pick(
        "hybrid",
        [A, B, C, D],
        rows,
        budget=2,
        embeddings=vectors,
        labelled=labelled({0: 4}, []),
        parameters={"shortlist": 1.5},
    )

    assert [rows_of[x]["rank"] for x in (A, B, C, D)] == [0, None, 1, None]
    assert rows_of[C]["reason"] == (
        "class-weighted uncertainty 0.600 over 1 boxes; "
        "7.071 away from all that was labelled or picked before"
    )


def test_hybrid_takes_one_image_of_a_scene_however_uncertain_its_copies_are() -> None:
    dice = np.random.default_rng(4)
    ids = [[asset(f"scene {scene}, {copy}") for copy in range(8)] for scene in range(40)]
    flat = [one for scene in ids for one in scene]
    places = np.repeat(dice.normal(size=(40, 8)), 8, axis=0) + dice.normal(size=(320, 8)) * 0.01
    rows = [(one, 0, 0.5 - 0.005 * n, None) for n, scene in enumerate(ids) for one in scene]

    picks = picked("hybrid", flat, rows, budget=20, embeddings=embedded(flat, places))

    assert len({flat.index(one) // 8 for one in picks}) == 20


def test_hybrid_prefers_rare_classes() -> None:
    rows = [(A, 0, 0.5, None), (B, 1, 0.3, None)]

    assert picked("hybrid", [A, B], rows, labelled=labelled({0: 99, 1: 3}, [])) == [B]


def test_hybrid_says_what_it_had_to_do_without() -> None:
    rows = [(A, 0, 0.5, None), (B, 0, 0.4, None)]

    bare = select("hybrid", [A, B], rows)
    alone = select("hybrid", [A, B], rows, embeddings=embedded([A, B], [[0], [1]]))

    assert bare.notes == (
        "the labelled classes are not known: rarity is that among the predictions",
        "no embeddings: nothing is known of which images are alike; picked by uncertainty and "
        "class alone",
    )
    assert alone.notes[1:] == (
        "no embeddings of the labelled images: picks keep apart from each other only",
    )


@pytest.mark.parametrize(
    "strategy", ["entropy", "least-confidence", "margin", "class-rarity", "hybrid"]
)
def test_images_without_a_detection_are_neither_first_nor_last(strategy: str) -> None:
    unseen = [asset(f"unseen {n}") for n in range(300)]
    seen = [asset(f"seen {n}") for n in range(300)]
    rows = [(one, n % 2, 0.06 + 0.003 * n, None) for n, one in enumerate(seen)]

    picks = picked(strategy, unseen + seen, rows, budget=120)

    assert 35 < len(set(picks) & set(unseen)) < 85


def test_images_without_a_detection_are_picked_in_later_rounds_as_well() -> None:
    unseen = {asset(f"unseen {n}") for n in range(200)}
    left = unseen | {asset(f"seen {n}") for n in range(600)}
    for _ in range(4):
        found = sorted(left - unseen)
        rows = [(one, 0, 0.05 + 0.0005 * n, None) for n, one in enumerate(found)]

        picks = picked("entropy", sorted(left), rows, budget=80, seed=5)

        assert 16 <= len(set(picks) & unseen) <= 24
        left -= set(picks)


def test_a_single_image_without_a_detection_is_picked_by_chance() -> None:
    seen = [asset(f"seen {n}") for n in range(3)]
    rows = [(one, 0, 0.1 + 0.1 * n, None) for n, one in enumerate(seen)]

    lucky = sum(A in picked("entropy", [A, *seen], rows, budget=2, seed=n) for n in range(100))

    assert 35 < lucky < 65


def test_faint_boxes_are_as_good_as_none_to_hybrid() -> None:
    faint = [asset(f"faint {n}") for n in range(300)]
    seen = [asset(f"seen {n}") for n in range(300)]
    rows = [(one, 0, 0.02, None) for one in faint] + [(one, 0, 0.5, None) for one in seen]

    picks = picked("hybrid", faint + seen, rows, budget=120)

    assert 30 < len(set(picks) & set(faint)) < 90


def test_the_executor_ranks_for_itself() -> None:
    ranking = pa.table({"asset_id": pa.array([C, A], schema.ASSET_ID), "score": [3.5, -2.0]})

    scores = pick("executor", [A, C], ranking=ranking, budget=2)

    assert [scores[x]["score"] for x in (A, C)] == [-2.0, 3.5]
    assert scores[C]["reason"] == "the executor scored it 3.5"


def test_what_the_executor_left_out_is_placed_by_chance() -> None:
    ids = assets(400)
    ranking = pa.table(
        {"asset_id": pa.array(ids[:200], schema.ASSET_ID), "score": np.arange(200) * 7.0}
    )

    picks = picked("executor", ids, ranking=ranking, budget=100)

    assert 25 < len(set(picks) & set(ids[200:])) < 75


def test_an_executor_that_ranks_nothing_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="needs the executor's own scores") as caught:
        select("executor", [A])
    assert caught.value.code == "no-ranking"


@pytest.mark.parametrize("strategy", sorted(set(mining.strategies()) - {"executor"}))
def test_without_candidates_nothing_is_picked(strategy: str) -> None:
    selection = select(strategy, [], embeddings=embedded([A], [[1.0]]))

    assert selection.scores.num_rows == 0


@pytest.mark.parametrize("strategy", sorted(set(mining.strategies()) - {"executor"}))
def test_every_strategy_picks_the_same_from_rows_in_any_order(strategy: str) -> None:
    dice = np.random.default_rng(2)
    ids = assets(60)
    rows = [(ids[n % 50], n % 2, (n % 19 + 1) / 20, {n % 2: (n % 7) / 10}) for n in range(150)]
    table, vectors = predicted(rows), embedded(ids, dice.normal(size=(60, 8)))
    more = {"classes": {0: "cat", 1: "dog"}, "budget": 11, "seed": 4}

    def chosen(places: np.ndarray, boxes: np.ndarray) -> mining.Selection:
        return mining.select(
            strategy,
            assets=pa.table({"asset_id": pa.array(ids, schema.ASSET_ID).take(places)}),
            predictions=table.take(boxes),
            embeddings=vectors.take(places),
            **more,  # type: ignore[arg-type]
        )

    straight = chosen(np.arange(60), np.arange(150))
    mixed = chosen(dice.permutation(60), dice.permutation(150))

    assert straight.scores.equals(mixed.scores)
    assert straight.scores["rank"].drop_null().sort().to_pylist() == list(range(11))


def test_a_vector_that_is_not_finite_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="not finite") as caught:
        select("k-center", [A], embeddings=embedded([A], [[float("nan")]]))
    assert caught.value.code == "bad-vector"
