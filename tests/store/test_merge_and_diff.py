from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from sample_tables import (
    OPERATION,
    asset_ids,
    asset_rows,
    box_rows,
    commit_assets,
    hex_ids,
    recount,
)

from mir_ops.errors import ConflictError, InvalidInputError
from mir_ops.store import Commit, Store
from mir_ops.store.comparisons import equal_values
from mir_ops.store.objects import MemoryObjects
from mir_ops.taxonomy import ClassName, Taxonomy

ONE, TWO = asset_ids(6, seed=1), asset_ids(4, seed=2)


@pytest.fixture
def memory_store() -> Store:
    return Store.on(MemoryObjects(), create=True)


def merge(
    store: Store, host: str, *guests: str, branch: str = "merged", **options: object
) -> Commit:
    return store.merge(
        branch,
        store.read(host),
        [store.read(guest) for guest in guests],
        op_id=f"merge-{branch}-{options.get('strategy')}",
        operation=OPERATION,
        message="Merge",
        **options,  # type: ignore[arg-type]
    )


def label(store: Store, branch: str, ids: pa.Array, class_id: int, each: int = 1) -> Commit:
    op_id = f"label-{branch}-{class_id}-{each}-{ids[0].as_py().hex()[:8]}"
    with store.edit(branch, op_id=op_id, operation=OPERATION, message="Label") as edit:
        edit.put_layer("ground_truth", box_rows(ids, each, class_id), assets=ids)
    return edit.commit


def fork(store: Store, source: str, branch: str) -> None:
    with store.edit(
        branch, op_id=f"fork-{branch}", operation=OPERATION, message="Fork", base=store.read(source)
    ):
        pass


def test_two_strangers_are_united(store: Store) -> None:
    one = commit_assets(store, "one", ONE, boxes=1)
    two = commit_assets(store, "two", TWO, boxes=2)

    merged = merge(store, "one", "two")

    assert merged.parents == (one.id, two.id)
    assert merged.generation == 2
    version = store.read("merged")
    assert version.stats.assets == 10
    assert version.stats.layers["ground_truth"].rows == 14
    recount(version)


def test_typed_sources_set_the_split(memory_store: Store) -> None:
    commit_assets(memory_store, "one", ONE, split="val")
    commit_assets(memory_store, "two", TWO)

    merge(memory_store, "one", "two", splits=["train", "val"])

    assert dict(memory_store.read("merged").stats.splits) == {"train": 6, "val": 4}
    recount(memory_store.read("merged"))


def test_same_image_in_two_imports_is_no_conflict(memory_store: Store) -> None:
    commit_assets(memory_store, "one", ONE, boxes=1)
    with memory_store.edit("two", op_id="t", operation=OPERATION, message="Two") as edit:
        edit.put_assets(asset_rows(pa.concat_arrays([ONE[:2], TWO]), name="other"))

    merge(memory_store, "one", "two")

    assert memory_store.read("merged").stats.assets == 10


def test_excluded_versions_are_left_out(memory_store: Store) -> None:
    commit_assets(memory_store, "one", ONE, boxes=1)
    commit_assets(memory_store, "two", TWO, boxes=1)
    commit_assets(memory_store, "bad", pa.concat_arrays([ONE[:1], TWO[:1]]))

    merge(memory_store, "one", "two", exclude=[memory_store.read("bad")])

    version = memory_store.read("merged")
    assert hex_ids(version.asset_ids()) == sorted(hex_ids(ONE[1:]) + hex_ids(TWO[1:]))
    recount(version)


def test_only_what_a_guest_changed_is_taken(memory_store: Store) -> None:
    commit_assets(memory_store, "main", ONE, boxes=1)
    fork(memory_store, "main", "side")
    label(memory_store, "main", ONE[:1], 5)
    label(memory_store, "side", ONE[1:2], 6)
    with memory_store.edit("side", op_id="gone", operation=OPERATION, message="Gone") as edit:
        edit.remove_assets(ONE[2:3])

    merged = merge(memory_store, "main", "side", branch="main")

    version = memory_store.read(merged)
    assert version.stats.assets == 5
    assert version.layer("ground_truth")["class_id"].to_pylist() == [5, 6, 0, 0, 0]
    recount(version)


def test_conflict_stops_the_merge_and_leaves_the_branch(memory_store: Store) -> None:
    commit_assets(memory_store, "main", ONE, boxes=1)
    fork(memory_store, "main", "side")
    ours = label(memory_store, "main", ONE[:2], 5)
    label(memory_store, "side", ONE[:1], 6)

    with pytest.raises(ConflictError) as caught:
        merge(memory_store, "main", "side", branch="main")

    assert caught.value.code == "merge-conflict"
    assert str(caught.value) == (
        "Both sides changed the same assets, 1 in `ground_truth`: "
        f"`ground_truth` {ONE[0].as_py().hex()[:12]}"
    )
    assert memory_store.resolve("main") == ours


@pytest.mark.parametrize(
    ("strategy", "classes"), [("host", [5]), ("guest", [6, 6]), ("union", [5, 6])]
)
def test_strategy_settles_a_conflict(
    memory_store: Store, strategy: str, classes: list[int]
) -> None:
    commit_assets(memory_store, "main", ONE, boxes=1)
    fork(memory_store, "main", "side")
    label(memory_store, "main", ONE[:1], 5)
    label(memory_store, "side", ONE[:1], 6, each=2)

    merge(memory_store, "main", "side", strategy=strategy)

    version = memory_store.read("merged")
    assert version.layer("ground_truth", ids=ONE[:1])["class_id"].to_pylist() == classes
    recount(version)


@pytest.mark.parametrize("strategy", ["host", "guest", "union"])
@pytest.mark.parametrize("removing", ["host", "guest"])
def test_removed_image_leaves_no_labels(memory_store: Store, strategy: str, removing: str) -> None:
    commit_assets(memory_store, "host", ONE, boxes=1, class_id=1)
    fork(memory_store, "host", "guest")
    other = "guest" if removing == "host" else "host"
    with memory_store.edit(removing, op_id="out", operation=OPERATION, message="Out") as edit:
        edit.remove_assets(ONE[4:])
    label(memory_store, other, ONE[4:], class_id=2)

    merge(memory_store, "host", "guest", strategy=strategy)

    version = memory_store.read("merged")
    strays = set(hex_ids(version.layer_assets("ground_truth"))) - set(hex_ids(version.asset_ids()))
    assert strays == set()
    recount(version)


def test_same_change_on_both_sides_is_no_conflict(memory_store: Store) -> None:
    commit_assets(memory_store, "main", ONE, boxes=1)
    fork(memory_store, "main", "side")
    label(memory_store, "main", ONE[:2], 5)
    label(memory_store, "side", ONE[:2], 5)

    merge(memory_store, "main", "side")

    assert memory_store.read("merged").stats.layers["ground_truth"].classes == {0: 4, 5: 2}


def test_descendant_is_taken_without_writing_rows(memory_store: Store) -> None:
    commit_assets(memory_store, "main", ONE, boxes=1)
    fork(memory_store, "main", "side")
    ahead = label(memory_store, "side", ONE[:1], 3)

    merged = merge(memory_store, "main", "side", branch="main")

    assert merged.manifest == ahead.manifest


def test_merging_again_after_more_work_takes_only_the_news(memory_store: Store) -> None:
    commit_assets(memory_store, "training", ONE, boxes=1)
    commit_assets(memory_store, "import", TWO[:2], boxes=1)
    merge(memory_store, "training", "import", branch="training")
    label(memory_store, "training", TWO[:1], 8)
    commit_assets(memory_store, "import", TWO[2:], boxes=1)

    merge(memory_store, "training", "import", branch="training", strategy="stop")

    version = memory_store.read("training")
    assert version.stats.assets == 10
    assert version.layer("ground_truth", ids=TWO[:1])["class_id"].to_pylist() == [8]
    recount(version)


def test_classes_of_both_sides_are_known(memory_store: Store) -> None:
    for branch, entry in (("one", ClassName(0, "cat")), ("two", ClassName(1, "dog"))):
        with memory_store.edit(branch, op_id="c", operation=OPERATION, message="C") as edit:
            edit.put_taxonomy(Taxonomy((entry,)))

    merge(memory_store, "one", "two")

    assert memory_store.read("merged").taxonomy.names == ["cat", "dog"]


def test_unknown_strategies_and_splits_are_refused(memory_store: Store) -> None:
    commit_assets(memory_store, "one", ONE)
    with pytest.raises(InvalidInputError, match="There is no merge strategy `theirs`"):
        merge(memory_store, "one", "one", strategy="theirs", splits=["train", "val"])
    with pytest.raises(InvalidInputError, match="2 sources need 2 splits"):
        merge(memory_store, "one", "one", splits=["train", "dev"])


def test_difference_is_told_in_assets_boxes_and_splits(store: Store) -> None:
    first = commit_assets(store, "b", ONE, boxes=2, class_id=1)
    with store.edit("b", op_id="change", operation=OPERATION, message="Change") as edit:
        edit.put_assets(asset_rows(TWO))
        edit.put_assets(asset_rows(ONE[:1], split="val"))
        edit.remove_assets(ONE[5:])
        edit.put_layer("ground_truth", box_rows(ONE[1:2], 3, class_id=1, x=9))
        edit.put_layer("ground_truth", box_rows(ONE[2:3], 1, class_id=4))

    diff = store.diff(first, "b")

    assert (diff.assets_added, diff.assets_removed, diff.split_moved) == (4, 1, 1)
    assert hex_ids(diff.moved_ids) == hex_ids(ONE[:1])
    # Two boxes of asset 1 moved and one is new; asset 2 lost two, got one of class 4; asset 5 left.
    assert diff.layers == {"ground_truth": {1: (1, 4, 2), 4: (1, 0, 0)}}
    assert diff.layer_assets == {"ground_truth": (0, 1, 2)}
    assert hex_ids(diff.layer_ids["ground_truth"]) == hex_ids(ONE.take([1, 2, 5]))


def test_versions_of_equal_content_do_not_differ(memory_store: Store) -> None:
    for seed in range(4):
        commit_assets(memory_store, "b", asset_ids(5, seed=seed), boxes=2)
    before = memory_store.read("b")

    memory_store.compact("b")

    diff = memory_store.diff(before, "b")
    assert (diff.assets_added, diff.assets_removed, diff.assets_changed) == (0, 0, 0)
    assert diff.layers == {"ground_truth": {}}


@pytest.mark.parametrize(
    ("left", "right", "kind", "equal"),
    [
        (
            [1.0, None, None, float("nan")],
            [1.0, 2.0, None, float("nan")],
            pa.float32(),
            [1, 0, 1, 1],
        ),
        ([[1, 2], [], None, [3]], [[1, 2], None, None, [4]], pa.list_(pa.int32()), [1, 0, 1, 0]),
        (
            [[[1.0], []], [[2.0]]],
            [[[1.0], []], [[2.0], []]],
            pa.list_(pa.list_(pa.float32())),
            [1, 0],
        ),
        ([[("a", "b")], []], [[("a", "c")], []], pa.map_(pa.string(), pa.string()), [0, 1]),
        ([[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0], [3.0, 5.0]], pa.list_(pa.float32(), 2), [1, 0]),
    ],
)
def test_values_of_every_kind_of_column_compare(
    left: list[object], right: list[object], kind: pa.DataType, equal: list[int]
) -> None:
    found = equal_values(pa.array(left, kind), pa.array(right, kind))

    assert found.tolist() == np.array(equal, bool).tolist()
