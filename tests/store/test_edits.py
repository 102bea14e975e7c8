from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
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
from mir_ops.store import Operation, Store, schema
from mir_ops.taxonomy import ClassName, Taxonomy


def test_what_was_put_is_read_back_sorted(store: Store) -> None:
    ids = asset_ids(20)

    commit = commit_assets(store, "digits/training", ids, split="train", boxes=2, class_id=7)

    version = store.read("digits/training")
    assert version.commit == commit
    assert version.assets().schema.equals(schema.ASSETS)
    assert hex_ids(version.asset_ids()) == hex_ids(ids)
    boxes = version.layer("ground_truth")
    assert boxes.schema.equals(schema.GROUND_TRUTH)
    assert boxes["annotation_id"].to_pylist() == [0, 1] * 20
    assert dict(version.stats.splits) == {"train": 20}
    assert version.stats.layers["ground_truth"].classes == {7: 40}
    recount(version)


def test_empty_answer_is_not_the_same_as_no_answer(store: Store) -> None:
    ids = asset_ids(3)
    commit_assets(store, "b", ids)

    with store.edit("b", op_id="label", operation=OPERATION, message="Label") as edit:
        edit.put_layer("ground_truth", box_rows(ids[:1]), assets=ids[:2])

    version = store.read("b")
    assert hex_ids(version.layer_assets("ground_truth")) == hex_ids(ids[:2])
    assert version.layer("ground_truth").num_rows == 1
    recount(version)


def test_newest_answer_replaces_all_boxes_of_an_asset(store: Store) -> None:
    ids = asset_ids(4)
    commit_assets(store, "b", ids, boxes=3)

    with store.edit("b", op_id="relabel", operation=OPERATION, message="Relabel") as edit:
        edit.put_layer("ground_truth", box_rows(ids[:1], class_id=9))

    version = store.read("b")
    assert version.layer("ground_truth", ids=ids[:1])["class_id"].to_pylist() == [9]
    assert version.layer("ground_truth").num_rows == 10
    recount(version)


def test_putting_the_same_rows_again_changes_no_row(store: Store) -> None:
    ids = asset_ids(5)
    commit_assets(store, "b", ids, boxes=2)
    before = store.read("b")

    with store.edit("b", op_id="again", operation=OPERATION, message="Again") as edit:
        edit.put_assets(before.assets())
        edit.put_layer("ground_truth", before.layer("ground_truth"))

    version = store.read("b")
    assert version.assets().equals(before.assets())
    assert version.layer("ground_truth").equals(before.layer("ground_truth"))
    recount(version)


def test_removed_asset_leaves_every_layer(store: Store) -> None:
    ids = asset_ids(5)
    commit_assets(store, "b", ids, boxes=1)

    with store.edit("b", op_id="remove", operation=OPERATION, message="Remove") as edit:
        edit.remove_assets(ids[:2])

    version = store.read("b")
    assert hex_ids(version.asset_ids()) == hex_ids(ids[2:])
    assert hex_ids(version.layer_assets("ground_truth")) == hex_ids(ids[2:])
    recount(version)


def test_last_change_of_an_asset_in_one_edit_wins(store: Store) -> None:
    ids = asset_ids(2)

    with store.edit("b", op_id="both", operation=OPERATION, message="Both") as edit:
        edit.put_assets(asset_rows(ids))
        edit.put_layer("ground_truth", box_rows(ids, 2))
        edit.remove_assets(ids[:1])
        edit.put_assets(asset_rows(ids[:1], split="val"))
        edit.clear_layer("ground_truth", assets=ids[1:])

    version = store.read("b")
    assert version.assets()["split"].to_pylist() == ["val", None]
    assert version.layers() == []
    recount(version)


def test_dropped_layer_is_gone_and_can_come_back(store: Store) -> None:
    ids = asset_ids(3)
    commit_assets(store, "b", ids, boxes=1)

    with store.edit("b", op_id="drop", operation=OPERATION, message="Drop") as edit:
        edit.clear_layer("ground_truth")
        edit.put_layer("ground_truth", box_rows(ids[:1], 2))

    version = store.read("b")
    assert hex_ids(version.layer_assets("ground_truth")) == hex_ids(ids[:1])
    recount(version)


def test_predictions_scores_and_embeddings_are_layers(store: Store) -> None:
    ids = asset_ids(2)
    predictions = box_rows(ids).append_column("confidence", pa.array([0.5, 0.25]))
    scores = pa.table({"asset_id": ids, "score": [0.1, 0.9], "rank": [None, 0]})
    vectors = pa.table(
        {"asset_id": ids, "vector": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2))}
    )
    commit_assets(store, "b", ids)

    with store.edit("b", op_id="infer", operation=OPERATION, message="Infer") as edit:
        edit.put_layer("predictions:m1", predictions)
        edit.put_layer("scores:entropy", scores)
        edit.put_layer("embeddings:m1", vectors)

    version = store.read("b")
    assert version.layers() == ["embeddings:m1", "predictions:m1", "scores:entropy"]
    assert version.layer("predictions:m1").schema.equals(schema.PREDICTIONS)
    assert version.layer("scores:entropy")["rank"].to_pylist() == [None, 0]
    assert version.layer("embeddings:m1")["vector"].to_pylist() == [[1.0, 2.0], [3.0, 4.0]]
    assert version.layer("predictions:other").num_rows == 0


def test_columns_and_ids_limit_what_is_read(store: Store) -> None:
    ids = asset_ids(50)
    commit_assets(store, "b", ids, boxes=2)
    version = store.read("b")

    some = version.assets(columns=["split", "asset_id"], ids=ids[10:12])

    assert some.column_names == ["split", "asset_id"]
    assert hex_ids(some["asset_id"]) == hex_ids(ids[10:12])
    assert version.layer("ground_truth", columns=["x"], ids=ids[:3]).num_rows == 6
    assert version.assets(ids=pa.array([], pa.binary(32))).num_rows == 0
    assert version.assets(ids=asset_ids(3, seed=9)).num_rows == 0
    with pytest.raises(InvalidInputError, match="Table `assets` has no column `colour`"):
        version.assets(columns=["colour"])


def test_base_of_another_branch_is_shared_and_becomes_a_parent(store: Store) -> None:
    ids = asset_ids(10)
    pool = commit_assets(store, "pool", ids, boxes=1)

    with store.edit("mined", op_id="m", operation=OPERATION, message="Mine", base=pool) as edit:
        edit.remove_assets(ids[5:])
    first = edit.commit
    with store.edit("mined", op_id="n", operation=OPERATION, message="Again", base=pool) as edit:
        pass

    assert first.parents == (pool.id,)
    assert edit.commit.parents == (first.id, pool.id)
    assert edit.commit.manifest == pool.manifest
    assert store.read("mined").stats.assets == 10


def test_exception_inside_the_block_commits_nothing(store: Store) -> None:
    def fail() -> None:
        with store.edit("b", op_id="x", operation=OPERATION, message="No") as edit:
            edit.put_assets(asset_rows(asset_ids(1)))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()

    assert not store.branch("b").exists


def test_edit_without_changes_records_its_operation(store: Store) -> None:
    first = commit_assets(store, "b", asset_ids(1))

    with store.edit("b", op_id="nothing", operation=OPERATION, message="Nothing") as edit:
        pass

    assert edit.commit.manifest == first.manifest
    assert store.find_operation("b", "nothing") == edit.commit
    assert store.branch("b").seq == 2


def test_same_operation_again_returns_the_first_commit(store: Store) -> None:
    ids = asset_ids(2)
    first = commit_assets(store, "b", ids, op_id="import")

    again = commit_assets(store, "b", ids, op_id="import")

    assert again == first
    assert [commit.id for commit in store.branch("b").log()] == [first.id]


def test_deleted_branch_starts_anew_and_repeats_its_operations(store: Store) -> None:
    first = commit_assets(store, "b", asset_ids(2), op_id="import")

    store.branch("b").delete()
    assert not store.branch("b").exists
    assert store.find_operation("b", "import") is None
    commit_assets(store, "b", asset_ids(1, seed=7), op_id="other")
    assert store.find_operation("b", "import") is None
    store.branch("b").delete()
    again = commit_assets(store, "b", asset_ids(2), op_id="import")

    assert again.parents == ()
    assert store.find_operation("b", "import") == again
    assert store.branch("b").seq == 5
    assert store.read(first).stats.assets == 2


def test_commit_remembers_what_made_it(store: Store) -> None:
    operation = Operation(
        kind="train",
        parameters={"epochs": 3, "name": "x"},
        inputs=("ab" * 32,),
        executor="sha256:1",
        seed=0,
        code_version="1.2",
    )

    with store.edit(
        "b",
        op_id="o",
        operation=operation,
        message="Train",
        author="ada",
        project="digits",
        round=1,
        run="run-1",
        keywords=("one", "two"),
    ):
        pass

    commit = Store.on(store.objects).resolve("b")
    assert commit.operation == operation
    assert (commit.author, commit.project, commit.round) == ("ada", "digits", "1")
    assert (commit.run, commit.keywords, commit.generation) == ("run-1", ("one", "two"), 1)


def test_taxonomy_belongs_to_the_version(store: Store) -> None:
    taxonomy = Taxonomy((ClassName(0, "cat", ("kitten",)), ClassName(3, "dog")))

    with store.edit("b", op_id="t", operation=OPERATION, message="Classes") as edit:
        edit.put_taxonomy(taxonomy)
    commit_assets(store, "b", asset_ids(1))

    assert store.read("b").taxonomy == taxonomy


def test_writers_of_different_assets_both_get_in(store: Store) -> None:
    commit_assets(store, "b", asset_ids(3, seed=1), boxes=1)

    with store.edit("b", op_id="slow", operation=OPERATION, message="Slow") as slow:
        slow.put_assets(asset_rows(asset_ids(2, seed=2)))
        quick = commit_assets(store, "b", asset_ids(2, seed=3))

    assert slow.commit.parents == (quick.id,)
    version = store.read("b")
    assert version.stats.assets == 7
    recount(version)


def test_writers_of_the_same_asset_conflict(store: Store) -> None:
    ids = asset_ids(3)
    commit_assets(store, "b", ids, boxes=1)

    def race() -> None:
        with store.edit("b", op_id="slow", operation=OPERATION, message="Slow") as slow:
            slow.put_layer("ground_truth", box_rows(ids[:2], class_id=1))
            with store.edit("b", op_id="quick", operation=OPERATION, message="Quick") as quick:
                quick.put_layer("ground_truth", box_rows(ids[1:], class_id=2))

    with pytest.raises(ConflictError) as caught:
        race()

    assert str(caught.value) == (
        "Branch `b` moved while it was edited: both changed 1 assets of `ground_truth`"
    )
    assert caught.value.code == "branch-moved"
    assert store.resolve("b").op_id == "quick"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (asset_rows(asset_ids(1)).drop_columns("width"), "Table `assets` lacks the column `width`"),
        (
            asset_rows(asset_ids(1)).append_column("colour", pa.array(["red"])),
            "Table `assets` has no column `colour`",
        ),
        (
            pa.concat_tables([asset_rows(asset_ids(1))] * 2),
            "Table `assets` has 1 repeated keys, the first for asset "
            + asset_ids(1)[0].as_py().hex(),
        ),
    ],
)
def test_unfit_table_is_refused(local_store: Store, table: pa.Table, message: str) -> None:
    with (
        pytest.raises(InvalidInputError) as caught,
        local_store.edit("b", op_id="x", operation=OPERATION, message="No") as edit,
    ):
        edit.put_assets(table)

    assert str(caught.value) == message


def test_rows_of_unnamed_assets_and_unknown_layers_are_refused(local_store: Store) -> None:
    ids = asset_ids(2)
    with local_store.edit("b", op_id="x", operation=OPERATION, message="No") as edit:
        with pytest.raises(InvalidInputError, match="has rows of 1 assets that are not in"):
            edit.put_layer("ground_truth", box_rows(ids), assets=ids[:1])
        with pytest.raises(InvalidInputError, match="No layer can be called `boxes`"):
            edit.put_layer("boxes", box_rows(ids))


def test_compaction_changes_layout_and_nothing_else(store: Store) -> None:
    for seed in range(6):
        commit_assets(store, "b", asset_ids(10, seed=seed), boxes=2)
    before = store.read("b")

    compacted = store.compact("b")

    after = store.read("b")
    assert compacted.equivalent_to == before.id
    assert after.assets().equals(before.assets())
    assert after.layer("ground_truth").equals(before.layer("ground_truth"))
    assert after.stats == before.stats
    assert [len(table) for table in after.segments().values()] == [1, 1]
    assert store.compact("b") == compacted


def test_a_layer_in_parts_is_the_layer_that_is_put_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mir_ops.store.segments.PARTITION_ROWS", 16)
    ids = asset_ids(100)
    empty = [index % 5 == 0 for index in range(len(ids))]
    boxes = box_rows(ids.filter(pa.array([not each for each in empty])), each=2, class_id=3)
    cuts = [(0, 1), (1, 40), (40, 41), (41, 99), (99, 100)]

    with store.edit("once", op_id="once", operation=OPERATION, message="") as edit:
        edit.put_assets(asset_rows(ids))
        edit.put_layer("ground_truth", boxes, assets=ids)
    with store.edit("parts", op_id="parts", operation=OPERATION, message="") as edit:
        edit.put_assets(asset_rows(ids))
        edit.write_layer("ground_truth", _parts(boxes, ids, cuts), size=180)

    once, parts = store.read("once"), store.read("parts")
    assert parts.manifest == once.manifest
    assert parts.stats == once.stats
    recount(parts)


def test_parts_of_a_layer_ascend(store: Store) -> None:
    ids = asset_ids(10)
    commit_assets(store, "b", ids)
    parts = _parts(box_rows(ids), ids, [(0, 6), (5, 10)])

    with (
        pytest.raises(InvalidInputError, match="Parts of `ground_truth` do not ascend"),
        store.edit("b", op_id="parts", operation=OPERATION, message="") as edit,
    ):
        edit.write_layer("ground_truth", parts, size=10)

    assert "ground_truth" not in store.read("b").layers()


def _parts(
    boxes: pa.Table, ids: pa.Array, cuts: list[tuple[int, int]]
) -> Iterator[tuple[pa.Table, pa.Array]]:
    for low, high in cuts:
        part = ids.slice(low, high - low)
        yield boxes.filter(pc.is_in(boxes["asset_id"], value_set=part)), part
