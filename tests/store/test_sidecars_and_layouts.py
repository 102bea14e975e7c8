"""Key sidecars, compactions and shared segments: what is not read, rewritten, or lost."""

from __future__ import annotations

import pickle

import numpy as np
import pyarrow as pa
import pytest
from faulty_objects import FaultyObjects
from sample_tables import (
    OPERATION,
    asset_ids,
    asset_rows,
    box_rows,
    commit_assets,
    hex_ids,
    recount,
)

from mir_ops.errors import ConflictError, MergeConflictError, StoreError
from mir_ops.store import Operation, Store, keys, revisions, segments, sidecars
from mir_ops.store.lookups import count_assets
from mir_ops.store.manifests import TableSegments
from mir_ops.store.objects import MemoryObjects
from mir_ops.taxonomy import ClassName, Taxonomy

IDS, NEW = asset_ids(40, seed=1), asset_ids(6, seed=2)


@pytest.fixture
def memory() -> Store:
    store = Store.on(MemoryObjects(), create=True)
    commit_assets(store, "b", IDS, boxes=2, split="train")
    return store


def fork(store: Store, branch: str) -> None:
    base = store.read("b")
    with store.edit(branch, op_id=branch, operation=OPERATION, message="Fork", base=base):
        pass


def merge(store: Store, guest: str, strategy: str = "stop") -> str:
    return store.merge(
        "b",
        store.read("b"),
        [store.read(guest)],
        op_id=f"merge-{guest}",
        operation=OPERATION,
        message="Merge",
        strategy=strategy,
    ).id


def test_lookup_in_sidecars_counts_as_the_rows_do(memory: Store) -> None:
    with memory.edit("b", op_id="e", operation=OPERATION, message="Empty") as edit:
        edit.put_layer("ground_truth", box_rows(IDS[:0]), assets=IDS[:5])
        edit.put_assets(asset_rows(IDS[5:8], split=None))
    version = memory.read("b")
    for name in ("assets", "ground_truth"):
        table = version.table(name)
        bare = TableSegments(
            base=tuple(without_sidecar(segment) for segment in table.base), deltas=table.deltas
        )
        asked = pa.concat_arrays([IDS[3:12], NEW])
        asked = asked.take(pa.array(np.argsort(asked.to_numpy(zero_copy_only=False))))

        found, covered = count_assets(memory.objects, table, asked)
        expected, known = count_assets(memory.objects, bare, asked)

        assert covered.tolist() == known.tolist()
        assert covered.sum() == 9
        assert (found.rows, found.assets, found.classes, found.splits) == (
            expected.rows,
            expected.assets,
            expected.classes,
            expected.splits,
        )


def without_sidecar(segment: segments.Segment) -> segments.Segment:
    from dataclasses import replace

    assert segment.sidecar is not None
    return replace(segment, sidecar=None)


def test_assets_alike_in_eight_bytes_are_told_apart() -> None:
    store = Store.on(MemoryObjects(), create=True)
    twins = pa.array([b"12345678" + bytes([last] * 24) for last in (1, 2)], pa.binary(32))

    commit_assets(store, "b", twins, boxes=1)
    with store.edit("b", op_id="r", operation=OPERATION, message="Remove") as edit:
        edit.remove_assets(twins[:1])

    assert store.read("b").segments()["assets"][0].sidecar is None
    assert hex_ids(store.read("b").asset_ids()) == hex_ids(twins[1:])
    recount(store.read("b"))


@pytest.mark.parametrize("damage", [lambda body: body[:-1], lambda body: body[:-9] + b"x" * 9])
def test_damaged_sidecar_is_named(memory: Store, damage, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(sidecars, "_open", {})
    sidecar = memory.read("b").segments()["assets"][0].sidecar
    key = keys.sidecar(sidecar or "")
    body = memory.objects.find(key) or b""
    memory.objects.delete(key)
    memory.objects.create(key, damage(body))

    with pytest.raises(StoreError) as caught:
        commit_assets(memory, "b", NEW)

    assert caught.value.code == "corrupt-object"
    assert key in str(caught.value)


def test_commit_reads_no_base_segment(memory: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sidecars, "_open", {})
    read = []
    objects = FaultyObjects(memory.objects)
    find = objects.find
    objects.find = lambda key: read.append(key) or find(key)  # type: ignore[method-assign,func-returns-value]

    commit_assets(Store(objects, ""), "b", pa.concat_arrays([IDS[:3], NEW]), boxes=1)

    assert [key for key in read if key.endswith(".parquet")] == []
    recount(memory.read("b"))


def test_compaction_in_between_costs_a_merge_nothing(memory: Store) -> None:
    fork(memory, "side")
    commit_assets(memory, "side", NEW[:2], boxes=1)
    for seed in range(8):
        commit_assets(memory, "b", asset_ids(1, seed=50 + seed), boxes=1)
    memory.compact("b")
    before = memory.read("b").segments()

    merge(memory, "side")

    after = memory.read("b").segments()
    assert after["assets"][: len(before["assets"])] == before["assets"]
    assert after["assets"][-1].assets == 2
    assert memory.read("b").stats.assets == 50
    recount(memory.read("b"))


def test_compaction_keeps_what_others_append_meanwhile(memory: Store) -> None:
    for seed in range(8):
        commit_assets(memory, "b", asset_ids(1, seed=50 + seed))

    class Overtaken(FaultyObjects):
        done = False

        def sync(self) -> None:
            if not self.done:
                self.done = True
                commit_assets(memory, "b", NEW)
            super().sync()

    compacted = Store(Overtaken(memory.objects), "").compact("b")

    tip = memory.read("b")
    assert tip.id == compacted.id
    assert compacted.equivalent_to == compacted.parents[0]
    assert [segment.assets for segment in tip.table("assets").deltas] == [6]
    assert tip.stats.assets == 54
    recount(tip)


def test_layer_that_only_the_guest_has_is_shared(memory: Store) -> None:
    fork(memory, "side")
    with memory.edit("side", op_id="s", operation=OPERATION, message="Scores") as edit:
        edit.put_layer("scores:s", pa.table({"asset_id": IDS, "score": [0.5] * len(IDS)}))
    with memory.edit("b", op_id="o", operation=OPERATION, message="Other") as edit:
        edit.put_assets(asset_rows(NEW))

    merge(memory, "side")

    merged = memory.read("b")
    assert merged.segments()["scores:s"] == memory.read("side").segments()["scores:s"]
    recount(merged)


def test_all_conflicts_are_on_the_error(memory: Store) -> None:
    fork(memory, "side")
    for branch, class_id in (("b", 5), ("side", 6)):
        with memory.edit(branch, op_id=f"l{branch}", operation=OPERATION, message="L") as edit:
            edit.put_layer("ground_truth", box_rows(IDS[:30], class_id=class_id))

    with pytest.raises(ConflictError) as caught:
        merge(memory, "side")

    error = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(error, MergeConflictError)
    assert error.code == "merge-conflict"
    assert error.conflicts == {"ground_truth": hex_ids(IDS[:30])}
    assert len(str(error)) < 300


def test_change_back_to_the_start_is_no_conflict(memory: Store) -> None:
    fork(memory, "side")
    start = memory.read("b").layer("ground_truth", ids=IDS[:1])
    for class_id in (7, None):
        with memory.edit("side", op_id=f"x{class_id}", operation=OPERATION, message="X") as edit:
            rows = start if class_id is None else box_rows(IDS[:1], class_id=class_id)
            edit.put_layer("ground_truth", rows)
    with memory.edit("b", op_id="ours", operation=OPERATION, message="Ours") as edit:
        edit.put_layer("ground_truth", box_rows(IDS[:1], class_id=5))

    merge(memory, "side")

    assert memory.read("b").layer("ground_truth", ids=IDS[:1])["class_id"].to_pylist() == [5]


def test_difference_tells_attributes_splits_and_renamed_classes(memory: Store) -> None:
    names = (
        Taxonomy((ClassName(0, "cat"),)),
        Taxonomy((ClassName(0, "tabby"), ClassName(1, "dog"))),
    )
    attributes = ([("city", "Ulm"), ("rain", "no")], [("city", "Bonn"), ("night", "yes")])
    for number, (taxonomy, of_image) in enumerate(zip(names, attributes, strict=True)):
        with memory.edit("b", op_id=f"n{number}", operation=OPERATION, message="N") as edit:
            edit.put_taxonomy(taxonomy)
            images = asset_rows(IDS[:2], split=("train", "val")[number])
            kind = pa.map_(pa.string(), pa.string())
            edit.put_assets(images.append_column("attributes", pa.array([of_image] * 2, kind)))

    diff = memory.diff("b@V2", "b@V3")

    assert diff.attributes == {"city": (0, 0, 2), "night": (2, 0, 0), "rain": (0, 2, 0)}
    assert diff.splits == {("train", "val"): 2}
    assert diff.classes_renamed == {0: ("cat", "tabby")}
    assert diff.classes_added == {1: "dog"}
    assert diff.classes_removed == {}


def test_deleted_branch_comes_back_with_its_history(memory: Store) -> None:
    op_id = memory.resolve("b").op_id
    memory.branch("b").delete()

    memory.branch("b").restore()

    assert memory.read("b").stats.assets == len(IDS)
    assert memory.branch("b").seq == 3
    found = memory.find_operation("b", op_id)
    assert found is not None
    with pytest.raises(ConflictError) as caught:
        memory.branch("b").restore()
    assert str(caught.value) == "Branch `b` is not deleted"


def test_renamed_branch_goes_on_where_the_old_one_ended(memory: Store) -> None:
    tip = memory.branch("b").tip()

    made = memory.branch("b").rename("c")

    assert made.stats == tip.stats
    assert [commit.id for commit in memory.branch("c").log()][:2] == [made.id, tip.id]
    assert [branch.name for branch in memory.branches()] == ["c"]
    assert memory.branch("b").rename("c") == made
    memory.branch("b").restore()
    assert [name for name, ref in memory.heads().items() if ref.commit] == ["b", "c"]
    with pytest.raises(ConflictError, match="Branch `c` exists already"):
        memory.branch("b").rename("c")


def test_rename_that_broke_off_before_the_old_name_went_is_finished(
    memory: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(revisions, "delete_branch", _break_off)
        with pytest.raises(KeyboardInterrupt):
            memory.branch("b").rename("c")
    assert [branch.name for branch in memory.branches()] == ["b", "c"]

    memory.branch("b").rename("c")

    assert [branch.name for branch in memory.branches()] == ["c"]
    assert memory.branch("c").seq == 1


def test_edits_record_who_the_store_was_opened_for(memory: Store) -> None:
    with memory.by("ada").edit(
        "b", op_id="by-ada", operation=Operation(kind="import"), message="Nothing"
    ) as edit:
        pass

    assert (edit.commit.author, memory.author) == ("ada", "mir")


def _break_off(*_: object) -> None:
    raise KeyboardInterrupt
