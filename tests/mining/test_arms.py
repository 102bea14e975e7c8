"""A slice of the budget is drawn at random, beside what the strategy picks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pools import CLASSES, Row, assets, predicted, table_of

from mir_ops import mining
from mir_ops.errors import InvalidInputError

POOL = assets(60)
# The first half of the ids is what entropy wants; nothing is seen on the last ten.
ROWS: list[Row] = [(one, 0, 0.5 - 0.009 * n, None) for n, one in enumerate(POOL[:50])]


def selected(
    *, budget: int = 20, share: float = 0.25, seed: int = 3, limits: mining.Limits | None = None
) -> mining.Selection:
    return mining.select(
        "entropy",
        assets=table_of(POOL),
        predictions=predicted(ROWS),
        classes=CLASSES,
        budget=budget,
        seed=5,
        limits=limits,
        control=mining.Control(share=share, seed=seed),
    )


def in_order() -> list[bytes]:
    """All candidates as the strategy alone would pick them."""
    scores = selected(budget=60, share=0.0).scores.sort_by("rank")
    return list(scores["asset_id"].to_pylist())


def arms_of(selection: mining.Selection) -> tuple[set[bytes], set[bytes]]:
    arms = mining.read_arms(selection.scores)
    return set(arms.mined.to_pylist()), set(arms.random.to_pylist())


def test_a_share_of_the_budget_is_drawn_and_the_strategy_fills_it_up() -> None:
    mined, drawn = arms_of(selected())

    assert len(drawn) == 5
    assert len(mined | drawn) == 20
    assert mined == set(in_order()[: len(mined)])


@given(seed=st.integers(0, 2**32), budget=st.integers(1, 70), share=st.floats(0, 0.5))
def test_an_image_that_both_choose_costs_one_label(seed: int, budget: int, share: float) -> None:
    mined, drawn = arms_of(selected(seed=seed, budget=budget, share=share))

    wanted = min(int(share * budget + 0.5), budget - 1)
    assert len(drawn) == (min(wanted, 60))
    assert len(mined | drawn) == min(budget, 60)
    order = in_order()[: len(mined)]
    assert mined == set(order)
    if len(drawn) and budget < 60:
        # With one pick fewer the budget would not be spent: the last is not one that was drawn.
        assert order[-1] not in drawn


def test_the_draw_is_from_the_whole_pool_and_every_image_is_as_likely() -> None:
    hits = dict.fromkeys(POOL, 0)
    for seed in range(600):
        for one in arms_of(selected(seed=seed))[1]:
            hits[one] += 1

    expected = 600 * 5 / 60
    chi_square = sum((count - expected) ** 2 / expected for count in hits.values()) * 60 / 55
    assert chi_square < 104  # 59 degrees of freedom: 1 in 4 000


def test_quotas_and_caps_do_not_bind_the_draw() -> None:
    plain = selected()
    bound = selected(limits=mining.Limits(quotas={0: 3}))

    assert arms_of(plain)[1] == arms_of(bound)[1]


def test_every_pick_says_its_arm_and_why() -> None:
    rows = [row for row in selected(seed=1).scores.to_pylist() if row["rank"] is not None]
    rows.sort(key=lambda row: row["rank"])

    chance = "drawn at random for the control arm"
    for row in rows:
        arm = mining.arm_of(dict(row["components"]))
        assert arm is not None
        assert (row["reason"] == chance) == (arm == "random")
        assert row["reason"].endswith(f"; also {chance.replace(' at random', '')}") == (
            arm == "both"
        )
    assert [row["rank"] for row in rows] == list(range(20))
    alone = [mining.arm_of(dict(row["components"])) == "random" for row in rows]
    assert alone == sorted(alone)


def test_a_round_draws_by_a_seed_of_its_own() -> None:
    seeds = {mining.control_seed(seed, number) for seed in range(20) for number in range(20)}

    assert len(seeds) == 400
    assert not seeds & set(range(20))


def test_a_budget_in_boxes_is_shared_by_expected_boxes() -> None:
    limits = mining.Limits(unit="boxes", boxes_per_confidence=10.0)
    mined, drawn = arms_of(selected(budget=40, share=0.25, limits=limits))

    expected = {one: 10.0 * confidence for one, _, confidence, _ in ROWS}
    total = sum(expected.get(one, 0.0) for one in mined | drawn)
    mean = sum(expected.values()) / len(POOL)
    assert len(drawn) == int(0.25 * 40 / mean + 0.5)
    assert 35 < total <= 40


def test_without_a_control_arm_all_picks_are_mined() -> None:
    mined, drawn = arms_of(selected(share=0.0))

    assert (len(mined), drawn) == (20, set())
    assert all(
        mining.arm_of(dict(row)) is None
        for row in selected(share=0.0).scores["components"].to_pylist()
    )


def test_a_share_above_half_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"The control arm's share is 0\.6"):
        mining.Control(share=0.6, seed=0)


def test_an_empty_pool_has_no_arms() -> None:
    found = mining.select(
        "entropy",
        assets=table_of([]),
        predictions=predicted([]),
        classes=CLASSES,
        budget=5,
        seed=0,
        control=mining.Control(share=0.2, seed=0),
    )
    assert [len(each) for each in dataclasses.astuple(mining.read_arms(found.scores))] == [0, 0]


def test_the_draw_does_not_follow_the_random_strategys_own(  # the same seed would pick the same
) -> None:
    found = mining.select(
        "random",
        assets=table_of(POOL),
        predictions=predicted([]),
        classes=CLASSES,
        budget=30,
        seed=5,
        control=mining.Control(share=0.5, seed=mining.control_seed(5, 1)),
    )
    arms = mining.read_arms(found.scores)
    shared = np.isin(np.array(arms.random.to_pylist()), np.array(arms.mined.to_pylist())).mean()
    assert isinstance(arms.mined, pa.Array)
    assert shared < 0.9
