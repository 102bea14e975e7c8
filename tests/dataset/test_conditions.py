"""Filtering by classes, attributes, size, split and box count; recorded filters replayed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from dataset_rows import CLASSES, Row, names, put
from dataset_sources import OPERATIONS

from mir_ops.dataset import (
    Bounds,
    Conditions,
    Sampling,
    filter_dataset,
    fuse,
    matching_assets,
    merge,
    sample,
    selected_again,
)
from mir_ops.dataset.conditions import layer_rows
from mir_ops.errors import InvalidInputError
from mir_ops.store import Operation, Store, Version
from mir_ops.taxonomy import ClassName, Taxonomy

RAIN, NIGHT = {"weather": "rain"}, {"weather": "dry", "night": "yes"}
IMAGES = [
    Row(name="cat", boxes=["cat"], split="train", attributes=RAIN, size=(100, 50)),
    Row(name="cat-dog", boxes=["cat", "dog", "cat"], split="val", size=(200, 50)),
    Row(name="dog-by-model", boxes=[], predicted=["dog"], attributes=NIGHT, byte_size=5000),
    Row(name="cat-then-dog", boxes=["cat"], predicted=["dog", "dog"]),
    Row(name="not-labelled", boxes=None, split="test"),
]


@pytest.fixture
def version(store: Store) -> Version:
    return put(store, "all", IMAGES)


def kept(version: Version, conditions: Conditions) -> list[str]:
    ids = matching_assets(version, conditions)
    column = version.assets(columns=["source_names"], ids=ids)["source_names"]
    return sorted(found[0] for found in column.to_pylist())


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("gt", ["cat-dog"]),
        ("pred", ["cat-then-dog", "dog-by-model"]),
        ("any", ["cat-dog", "cat-then-dog", "dog-by-model"]),
    ],
)
def test_a_class_is_found_in_ground_truth_predictions_or_both(
    version: Version, source: str, expected: list[str]
) -> None:
    conditions = Conditions(include_classes=("dog",), annotation_source=source)  # type: ignore[arg-type]

    assert kept(version, conditions) == expected


def test_all_classes_may_come_from_different_layers(version: Version) -> None:
    both = Conditions(include_classes=("cat", "dog", "Cat"), match="all")

    assert kept(version, both) == ["cat-dog", "cat-then-dog"]


def test_none_of_the_excluded_classes_is_in_any_layer(version: Version) -> None:
    assert kept(version, Conditions(exclude_classes=("dog",))) == ["cat", "not-labelled"]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (Conditions(attributes=("weather",)), ["cat", "dog-by-model"]),
        (Conditions(attributes=("weather=rain",)), ["cat"]),
        (
            Conditions(exclude_attributes=("weather=rain",)),
            ["cat-dog", "cat-then-dog", "dog-by-model", "not-labelled"],
        ),
        (Conditions(attributes=("weather=dry", "night=yes")), ["dog-by-model"]),
        (Conditions(splits=("train", "val")), ["cat", "cat-dog"]),
        (Conditions(splits=("none",)), ["cat-then-dog", "dog-by-model"]),
        (Conditions(width=Bounds(low=100, high=199)), ["cat"]),
        (Conditions(width=Bounds(low=100), height=Bounds(high=50)), ["cat", "cat-dog"]),
        (Conditions(byte_size=Bounds(low=5000)), ["dog-by-model"]),
        (Conditions(boxes=Bounds(low=3)), ["cat-dog", "cat-then-dog"]),
        (Conditions(boxes=Bounds(high=0)), ["not-labelled"]),
        (Conditions(boxes=Bounds(low=2), annotation_source="gt"), ["cat-dog"]),
        (Conditions(include_classes=("bird",)), []),
    ],
)
def test_an_image_must_fulfil_every_condition(
    version: Version, conditions: Conditions, expected: list[str]
) -> None:
    assert kept(version, conditions) == expected


def test_conditions_survive_being_recorded(store: Store, version: Version) -> None:
    conditions = Conditions(
        include_classes=("cat",), attributes=("weather",), width=Bounds(low=1), match="all"
    )

    commit = filter_dataset(store, "all", "out", conditions, op_id=OPERATIONS[2])

    assert Conditions.from_parameters(commit.operation.parameters) == conditions
    assert selected_again(version, commit.operation).equals(store.read("out").asset_ids())


def test_an_older_record_has_fewer_conditions() -> None:
    recorded = {"include_classes": ["cat"], "exclude_classes": [], "annotation_source": "gt"}

    expected = Conditions(include_classes=("cat",), annotation_source="gt")
    assert Conditions.from_parameters(recorded) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Conditions(splits=("training",)),
        lambda: Conditions(attributes=("=rain",)),
        lambda: Bounds(low=2, high=1),
    ],
)
def test_a_senseless_condition_is_refused(wrong: object) -> None:
    with pytest.raises(InvalidInputError) as caught:
        wrong()  # type: ignore[operator]
    assert caught.value.code == "bad-condition"


def test_fuse_is_merge_then_filter_then_sample(store: Store, tmp_path: Path) -> None:
    put(store, "one", [Row(name=f"cat {n}", boxes=["cat"]) for n in range(20)])
    put(store, "two", [Row(name=f"{n}", boxes=["dog"] if n % 2 else ["cat"]) for n in range(20)])
    sources, conditions = ["tr:one", "va:two"], Conditions(include_classes=("cat",))
    sampling = Sampling(count=12, seed=5, stratify="split")

    merge(store, sources, "steps", strategy="host", op_id=OPERATIONS[1])
    filter_dataset(store, "steps", "steps", conditions, op_id=OPERATIONS[2])
    sample(store, "steps", "steps", sampling, op_id=OPERATIONS[3])
    fused = fuse(
        store,
        sources,
        "fused",
        strategy="host",
        conditions=conditions,
        sampling=sampling,
        op_id=OPERATIONS[4],
    )

    one, other = store.read("steps"), store.read("fused")
    assert other.assets().equals(one.assets())
    assert other.layer("ground_truth").equals(one.layer("ground_truth"))
    assert fused.stats == one.stats
    assert dict(fused.stats.splits) == {"train": 8, "val": 4}
    assert store.branch("fused").seq == 1
    merged = store.read("steps@V1")
    assert selected_again(merged, fused.operation).equals(other.asset_ids())


def test_fuse_of_a_larger_part_only_marks_what_goes(store: Store) -> None:
    put(store, "one", [Row(name=f"cat {n}", boxes=["cat"]) for n in range(20)])
    put(store, "two", [Row(name="dog", boxes=["dog"])])

    fuse(
        store,
        ["one", "two"],
        "out",
        exclude=["two"],
        conditions=Conditions(include_classes=("cat",)),
        sampling=Sampling(rate=0.9),
        op_id=OPERATIONS[2],
    )

    out = store.read("out")
    assert out.stats.assets == 18
    assert "dog" not in names(out)
    base = store.read("one").table("ground_truth").base
    assert out.table("ground_truth").base == base


@pytest.mark.parametrize("deltas", [False, True])
def test_classes_are_the_same_with_and_without_sidecars(store: Store, deltas: bool) -> None:
    """Classes come from the sidecars of base segments, and from the rows of deltas over them."""
    rows = [
        Row(name=f"{n}", boxes=None if n % 5 == 0 else CLASSES[: n % 4], predicted=["bird"])
        for n in range(200)
    ]
    version = put(store, "all", rows)
    if deltas:
        more = Row(name="one more", boxes=["dog", "cat"])
        others = [
            Row(name="7", boxes=["bird"]),
            Row(name="8", boxes=[]),
            Row(name="10", boxes=["dog"]),
        ]
        put(store, "one", [more, *others])
        merge(store, ["all", "one"], "all", strategy="guest", op_id=OPERATIONS[1])
        version = store.read("all")
    assert bool(version.table("ground_truth").deltas) is deltas

    ids = version.asset_ids()
    found = layer_rows(version, "ground_truth", ids)

    table = version.layer("ground_truth", columns=["asset_id", "class_id"])
    each = np.diff(np.append(found.starts, len(found.classes)))
    assert ids.take(pa.array(np.repeat(found.place, each))).equals(
        table["asset_id"].combine_chunks()
    )
    assert found.classes.tolist() == table["class_id"].to_pylist()


def test_a_recorded_filter_finds_classes_that_were_renamed_or_are_not_there(
    store: Store, version: Version
) -> None:
    aliases = Taxonomy((ClassName(0, "cat", ("kitten",)),))
    conditions = Conditions(include_classes=("kitten",), exclude_classes=("dog",))
    commit = filter_dataset(store, "all", "out", conditions, taxonomy=aliases, op_id=OPERATIONS[2])
    with store.edit(
        "renamed", op_id=OPERATIONS[3], operation=Operation(kind="x"), message="x", base=version
    ) as edit:
        edit.put_taxonomy(Taxonomy((ClassName(0, "tomcat"), ClassName(2, "bird"))))

    kept = selected_again(store.read("renamed"), commit.operation)

    assert commit.operation.parameters["class_ids"] == {"kitten": 0, "dog": 1}
    assert kept.equals(store.read("out").asset_ids())
