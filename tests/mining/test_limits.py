"""Budgets in boxes, quotas of classes, caps of sources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pools import assets, picked, select, table_of

from mir_ops.errors import InvalidInputError
from mir_ops.mining import Control, Limits, read_arms
from mir_ops.store import schema

IDS = assets(40)


def grouped(groups: Sequence[str | None]) -> pa.Table:
    ids = IDS[: len(groups)]
    table = table_of(ids).append_column("group_id", pa.array(groups, pa.string()))
    attributes = [None if group is None else [("camera", group)] for group in groups]
    return table.append_column("attributes", pa.array(attributes, schema.TEXT_MAP))


def test_a_budget_in_boxes_counts_expected_boxes() -> None:
    rows = [(one, 0, 0.5, None) for one in IDS for _ in range(4)]  # two boxes expected on each

    assert len(picked("entropy", IDS, rows, budget=10, limits=Limits(unit="boxes"))) == 5
    calibrated = Limits(unit="boxes", boxes_per_confidence=0.5)
    assert len(picked("entropy", IDS, rows, budget=10, limits=calibrated)) == 10


def test_a_budget_in_boxes_is_never_more_images_than_boxes() -> None:
    assert len(picked("random", IDS, budget=7, limits=Limits(unit="boxes"))) == 7


def test_one_image_is_picked_however_many_boxes_it_has() -> None:
    rows = [(IDS[0], 0, 0.9, None)] * 30

    assert picked("entropy", IDS[:1], rows, budget=2, limits=Limits(unit="boxes")) == IDS[:1]


@pytest.mark.parametrize("source", ["group_id", "attributes.camera"])
def test_a_source_gives_only_so_many(source: str) -> None:
    table = grouped(["a"] * 10 + ["b"] * 3 + [None] * 5)

    picks = picked(
        "random", IDS[:18], budget=18, assets=table, limits=Limits(per_source=2, source=source)
    )

    assert len(set(picks) & set(IDS[:10])) == 2
    assert len(set(picks) & set(IDS[10:13])) == 2
    assert len(set(picks) & set(IDS[13:18])) == 5


@given(groups=st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=30),
       cap=st.integers(1, 4), budget=st.integers(1, 30))  # fmt: skip
def test_caps_take_the_best_of_each_source(groups: list[str | None], cap: int, budget: int) -> None:
    ids = IDS[: len(groups)]
    free = picked("random", ids, budget=len(ids))
    seen: dict[str, int] = {}
    expected = []
    for one in free:
        group = groups[ids.index(one)]
        if group is not None:
            seen[group] = seen.get(group, 0) + 1
        if group is None or seen[group] <= cap:
            expected.append(one)

    picks = picked(
        "random", ids, budget=budget, assets=grouped(groups), limits=Limits(per_source=cap)
    )

    assert picks == expected[:budget]


def test_a_quota_brings_a_class_in() -> None:
    rows = [(one, 0, 0.5, None) for one in IDS[:30]] + [(one, 1, 0.99, None) for one in IDS[30:]]

    free = picked("entropy", IDS, rows, budget=10)
    bound = picked("entropy", IDS, rows, budget=10, limits=Limits(quotas={1: 4}))

    assert not set(free) & set(IDS[30:])
    assert bound == [*free[:6], *IDS[30:34]]


def test_a_quota_that_is_met_anyway_changes_nothing() -> None:
    rows = [(one, 0, 0.5, None) for one in IDS]

    free = picked("entropy", IDS, rows, budget=10)

    assert picked("entropy", IDS, rows, budget=10, limits=Limits(quotas={0: 10})) == free


def test_a_quota_that_the_pool_cannot_fill_is_told() -> None:
    rows = [(IDS[0], 1, 0.9, None), (IDS[1], 1, 0.2, None)]

    selection = select("random", IDS, rows, budget=10, limits=Limits(quotas={1: 3, 0: 1}))

    assert selection.notes == (
        "class `cat` was found in 0 candidates, its quota is 1",
        "class `dog` was found in 1 candidates, its quota is 3",
    )
    assert selection.scores["rank"].null_count == 30


def test_a_quota_that_caps_leave_no_room_for_is_told() -> None:
    rows = [(one, 1, 0.9, None) for one in IDS[:3]]
    table = grouped(["a"] * 3 + ["b"] * 3)

    limits = Limits(quotas={1: 2}, per_source=1)
    selection = select("random", IDS[:6], rows, budget=4, assets=table, limits=limits)

    said = "class `dog` was found in 1 candidates that the caps leave, its quota is 2"
    assert selection.notes == (said,)


@settings(max_examples=40, deadline=None)
@given(
    found=st.lists(
        st.tuples(st.integers(0, 29), st.integers(0, 1), st.integers(1, 20)), max_size=60
    ),
    groups=st.lists(st.sampled_from(["a", "b", "c", None]), min_size=30, max_size=30),
    unit=st.sampled_from(["images", "boxes"]),
    quota=st.integers(1, 5), cap=st.none() | st.integers(1, 6), budget=st.integers(5, 25),
    share=st.sampled_from([0.0, 0.2, 0.5]),
)  # fmt: skip
def test_budget_quota_caps_and_control_hold_together(
    found: list[tuple[int, int, int]], groups: list[str | None], unit: Any, quota: int,
    cap: int | None, budget: int, share: float,
) -> None:  # fmt: skip
    rows = [(IDS[one], label, share_of / 20, None) for one, label, share_of in found]
    limits = Limits(unit=unit, quotas={1: quota}, per_source=cap)

    selection = select(
        "entropy", IDS[:30], rows, budget=budget, assets=grouped(groups), limits=limits,
        control=Control(share=share, seed=5),
    )  # fmt: skip

    picks = selection.scores.filter(pc.is_valid(selection.scores["rank"])).sort_by("rank")
    chosen, arms = picks["asset_id"].to_pylist(), read_arms(selection.scores)
    assert picks["rank"].to_pylist() == list(range(len(chosen)))
    assert 1 <= len(chosen) <= budget
    if unit == "boxes":
        # What chance draws is not chosen by what it costs; the mined fit beside it.
        drawn, taken = (
            sum(each for one, _, each, _ in rows if one in set(arm.to_pylist()))
            for arm in (arms.alone, arms.mined)
        )
        assert taken <= max(1.0, budget - drawn) + 1e-6 or len(arms.mined) == 1
    mined = [IDS.index(one) for one in arms.mined.to_pylist()]
    if cap is not None:
        sources = [groups[one] for one in mined if groups[one] is not None]
        assert all(sources.count(each) <= cap for each in sources)
    having = {one for one, label, share_of in found if label == 1 and share_of >= 5}
    if unit == "images" and len(mined) >= quota:
        assert len(having & set(mined)) >= quota or selection.notes


@pytest.mark.parametrize(
    ("limits", "budget", "message"),
    [
        (Limits(), 0, "The mining budget is 0"),
        (Limits(quotas={0: 3, 1: 3}), 5, "Quotas of 6 images in a budget of 5"),
        (Limits(quotas={0: 0}), 5, "A quota is 0 images"),
        (Limits(per_source=0), 5, "`per_source` is 0"),
        (Limits(boxes_per_confidence=float("nan")), 5, "`boxes_per_confidence` is nan"),
        (Limits(per_source=1, source="colour"), 5, "Assets have no source `colour`"),
        (Limits(per_source=1, source="attributes"), 5, "Assets have no source `attributes`"),
    ],
)
def test_limits_that_cannot_be_kept_are_refused(limits: Limits, budget: int, message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        select("random", IDS, budget=budget, limits=limits, assets=grouped([None] * 40))
    assert str(caught.value) == message
