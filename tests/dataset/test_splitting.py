"""Sampling by strata, and splits: exact, seeded, groups together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from dataset_rows import Row, names, put
from dataset_sources import OPERATIONS
from hypothesis import given
from hypothesis import strategies as st

from mir_ops.dataset import Sampling, sample, selected_again, split_dataset
from mir_ops.dataset.sampling import Line, draw
from mir_ops.errors import InvalidInputError
from mir_ops.store import Store, Version

MIXED = [
    Row(name=f"{n}", boxes=["cat"] * (n % 10 != 0) + ["dog"] * (n % 5 == 0)) for n in range(100)
]


def splits(version: Version) -> dict[str, str | None]:
    table = version.assets(columns=["source_names", "split"])
    found = table["source_names"].to_pylist()
    return {one[0]: split for one, split in zip(found, table["split"].to_pylist(), strict=True)}


def test_a_stratified_sample_keeps_the_share_of_rare_classes(store: Store) -> None:
    version = put(store, "all", MIXED)
    sampling = Sampling(rate=0.5, seed=3, stratify="class")

    commit = sample(store, "all", "out", sampling, op_id=OPERATIONS[1])

    assert commit.stats.assets == 50
    assert commit.stats.layers["ground_truth"].class_assets[1] == 10
    assert selected_again(version, commit.operation).equals(store.read("out").asset_ids())


def test_a_sample_by_attribute_counts_images_without_it_as_well(store: Store) -> None:
    put(store, "all", [Row(name=f"{n}", attributes={"k": "v"} if n < 8 else {}) for n in range(20)])

    sample(store, "all", "out", Sampling(count=5, stratify="attribute:k"), op_id=OPERATIONS[1])

    found = names(store.read("out"))
    assert (len(found), sum(int(name) < 8 for name in found)) == (5, 2)


def test_a_growing_version_keeps_most_of_its_sample(store: Store) -> None:
    rows = [Row(name=f"{n}") for n in range(110)]
    put(store, "all", rows[:100])
    put(store, "more", rows)

    for branch in ("all", "more"):
        sample(store, branch, f"{branch}-s", Sampling(rate=0.3), op_id=OPERATIONS[1])

    before, after = (set(names(store.read(f"{branch}-s"))) for branch in ("all", "more"))
    assert len(before & after) >= 26


def test_a_split_is_exact_seeded_and_complete(store: Store) -> None:
    put(store, "all", MIXED)
    rates = {"train": 0.7, "val": 0.2, "test": 0.1}

    first, again, other = (
        split_dataset(store, "all", branch, rates=rates, seed=seed, op_id=OPERATIONS[1])
        for branch, seed in (("a", 1), ("b", 1), ("c", 2))
    )

    assert dict(first.stats.splits) == {"train": 70, "val": 20, "test": 10}
    assert splits(store.read("a")) == splits(store.read("b"))
    assert splits(store.read("a")) != splits(store.read("c"))
    assert (again.operation.seed, other.operation.parameters["rates"]) == (1, rates)


def test_a_stratified_split_gives_each_part_its_share_of_rare_classes(store: Store) -> None:
    put(store, "all", MIXED)

    split_dataset(
        store, "all", "out", counts={"train": 50, "val": 25}, stratify="class", op_id=OPERATIONS[1]
    )

    found = splits(store.read("out"))
    assert Counter(found.values()) == {"train": 50, "val": 25, None: 25}
    with_dog = Counter(found[str(n)] for n in range(0, 100, 5))
    assert with_dog == {"train": 10, "val": 5, None: 5}


def test_images_of_a_group_come_into_one_split(store: Store) -> None:
    rows = [Row(name=f"{n}", group=f"g{n // 7}" if n < 70 else None) for n in range(100)]
    put(store, "all", rows)

    split_dataset(store, "all", "out", rates={"train": 0.5, "val": 0.5}, op_id=OPERATIONS[1])

    found = splits(store.read("out"))
    for group in range(10):
        assert len({found[str(n)] for n in range(group * 7, group * 7 + 7)}) == 1
    assert abs(Counter(found.values())["train"] - 50) <= 4


def test_only_images_that_move_are_written(store: Store) -> None:
    put(store, "all", [Row(name=f"{n}", split="train") for n in range(20)])

    commit = split_dataset(store, "all", "out", rates={"train": 1.0}, op_id=OPERATIONS[1])

    assert store.read(commit).manifest == store.read("all").manifest


@pytest.mark.parametrize(
    ("rates", "counts"),
    [
        (None, None),
        ({"train": 0.5}, {"train": 5}),
        ({"train": 0.9, "val": 0.2}, None),
        ({"training": 0.5}, None),
        ({"train": float("nan")}, None),
        (None, {"val": -1}),
    ],
)
def test_senseless_parts_are_refused(
    store: Store, rates: Mapping[str, float] | None, counts: Mapping[str, int] | None
) -> None:
    put(store, "all", [Row(name="one")])

    with pytest.raises(InvalidInputError) as caught:
        split_dataset(store, "all", "out", rates=rates, counts=counts, op_id=OPERATIONS[1])
    assert caught.value.code == "bad-split"
    assert not store.branch("out").exists


@given(strata=st.lists(st.integers(0, 4), min_size=1, max_size=60), share=st.floats(0, 1))
def test_a_draw_is_exact_and_fair_to_each_stratum(strata: Sequence[int], share: float) -> None:
    size = len(strata)
    amount = int(share * size)
    line = Line(
        unit=np.arange(size),
        weight=np.ones(size, np.int64),
        place=np.random.default_rng(0).integers(0, 2**63, size).astype(np.uint64),
        stratum=np.array(strata, np.int64),
    )

    drawn = draw(line, amount)

    assert drawn.sum() == amount
    for stratum in set(strata):
        mine = line.stratum == stratum
        assert abs(drawn[mine].sum() - amount / size * mine.sum()) <= 1
