"""Random histories on two branches, compared with a dictionary."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sample_tables import OPERATION, asset_ids, asset_rows, box_rows, recount

from mir_ops.store import Store, sidecars
from mir_ops.store.ancestry import find_merge_base
from mir_ops.store.objects import MemoryObjects

IDS = asset_ids(8)
GONE = "gone"
BRANCHES = st.sampled_from(["a", "b"])
SOME = st.sets(st.integers(0, len(IDS) - 1), min_size=1, max_size=5).map(sorted)
SPLITS = st.sampled_from([None, "train", "val"])


@dataclass
class Model:
    splits: dict[int, str | None] = field(default_factory=dict)
    boxes: dict[int, list[int]] = field(default_factory=dict)


class Histories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.store = Store.on(MemoryObjects(), create=True)
        self.models: dict[str, Model] = {}
        self.deleted: dict[str, Model] = {}
        self.tags: dict[str, Model] = {}
        self.last_op: dict[str, str] = {}
        self.versions: list[tuple[str, Model]] = []
        self.number = 0

    @rule(branch=BRANCHES, put=SOME, split=SPLITS)
    def put_assets(self, branch: str, put: list[int], split: str | None) -> None:
        model = self.next_model(branch)
        model.splits |= dict.fromkeys(put, split)
        with self.edit(branch) as edit:
            edit.put_assets(asset_rows(chosen(put), split))
        self.note(branch, model)

    @rule(branch=BRANCHES, gone=SOME, back=SOME)
    def remove_some_and_put_others(self, branch: str, gone: list[int], back: list[int]) -> None:
        model = self.next_model(branch)
        for index in gone:
            model.splits.pop(index, None)
            model.boxes.pop(index, None)
        model.splits |= dict.fromkeys(back, "test")
        with self.edit(branch) as edit:
            edit.remove_assets(chosen(gone))
            edit.put_assets(asset_rows(chosen(back), "test"))
        self.note(branch, model)

    @rule(branch=BRANCHES, seen=SOME, class_id=st.integers(0, 3), each=st.integers(0, 2))
    def label(self, branch: str, seen: list[int], class_id: int, each: int) -> None:
        model = self.next_model(branch)
        model.boxes |= {index: [class_id] * each for index in seen}
        with self.edit(branch) as edit:
            edit.put_layer("ground_truth", box_rows(chosen(seen), each, class_id), chosen(seen))
        self.note(branch, model)

    @rule(branch=BRANCHES, forgotten=st.none() | SOME)
    def forget(self, branch: str, forgotten: list[int] | None) -> None:
        model = self.next_model(branch)
        for index in list(model.boxes) if forgotten is None else forgotten:
            model.boxes.pop(index, None)
        with self.edit(branch) as edit:
            ids = None if forgotten is None else chosen(forgotten)
            edit.clear_layer("ground_truth", ids)
        self.note(branch, model)

    @rule(branch=BRANCHES)
    def compact(self, branch: str) -> None:
        if branch in self.models:
            self.store.compact(branch)

    @rule(branch=BRANCHES)
    def delete(self, branch: str) -> None:
        if branch in self.models:
            self.store.branch(branch).delete()
            self.deleted[branch] = self.models.pop(branch)

    @rule(branch=BRANCHES)
    def restore(self, branch: str) -> None:
        if branch in self.deleted and branch not in self.models:
            self.store.branch(branch).restore()
            self.note(branch, self.deleted[branch])
            assert self.store.find_operation(branch, self.last_op[branch]) is not None

    @rule(branch=BRANCHES)
    def tag(self, branch: str) -> None:
        if branch in self.models:
            self.number += 1
            name = f"{branch}@{self.number}"
            self.store.create_tag(name, self.store.resolve(branch).id)
            self.tags[name] = copy.deepcopy(self.models[branch])

    @rule()
    def reopen(self) -> None:
        self.store = Store.on(self.store.objects)
        sidecars._open.clear()

    @rule(branch=BRANCHES)
    def repeat_the_last_operation(self, branch: str) -> None:
        if branch in self.models:
            op_id, before = self.last_op[branch], self.store.resolve(branch)
            with self.store.edit(branch, op_id=op_id, operation=OPERATION, message="Again") as edit:
                edit.put_assets(asset_rows(IDS, "test"))
            assert edit.commit.op_id == op_id
            assert self.store.resolve(branch) == before

    @rule(strategy=st.sampled_from(["host", "guest", "union"]))
    def merge(self, strategy: str) -> None:
        if len(self.models) < 2:
            return
        a, b = self.store.read("a"), self.store.read("b")
        self.number += 1
        merged = self.store.merge(
            "a",
            a,
            [b],
            op_id=str(self.number),
            operation=OPERATION,
            message="Merge",
            strategy=strategy,
        )
        recount(self.store.read(merged))
        self.last_op["a"] = str(self.number)
        if strategy != "union":
            base = find_merge_base(self.store.commit, a.commit, b.commit)
            start = Model() if base is None else observed(self.store, base.id)
            sides = observed(self.store, a.id), observed(self.store, b.id)
            merged_as = merged_model(start, *sides, strategy)
            assert of_images(observed(self.store, "a")) == of_images(merged_as)
        self.note("a", observed(self.store, "a"))
        difference = self.store.diff(b, merged)
        expected = set(b.asset_ids().to_pylist()) ^ set(
            self.store.read("a").asset_ids().to_pylist()
        )
        assert difference.assets_added + difference.assets_removed == len(expected)

    @invariant()
    def branches_hold_what_the_model_says(self) -> None:
        for branch, model in self.models.items():
            assert observed(self.store, branch) == model
            recount(self.store.read(branch))

    @invariant()
    def old_versions_stay(self) -> None:
        for commit_id, model in self.versions[-3:] + list(self.tags.items())[-2:]:
            assert observed(self.store, commit_id) == model

    def edit(self, branch: str):  # type: ignore[no-untyped-def]
        self.number += 1
        op_id = self.last_op[branch] = str(self.number)
        return self.store.edit(branch, op_id=op_id, operation=OPERATION, message="Change")

    def next_model(self, branch: str) -> Model:
        return copy.deepcopy(self.models.get(branch, Model()))

    def note(self, branch: str, model: Model) -> None:
        self.models[branch] = model
        self.versions.append((self.store.resolve(branch).id, copy.deepcopy(model)))


def merged_model(start: Model, host: Model, guest: Model, strategy: str) -> Model:
    """Three-way, image by image: who changed nothing gives way; `strategy` where both did."""
    merged = Model()
    for index in range(len(IDS)):
        for name in ("splits", "boxes"):
            before, ours, theirs = (getattr(m, name).get(index, GONE) for m in (start, host, guest))
            both = ours != before and theirs != before
            taken = theirs if (both and strategy == "guest") or ours == before else ours
            if taken != GONE:
                getattr(merged, name)[index] = taken
    return merged


def of_images(model: Model) -> Model:
    """Without answers about what is no image: a merge may leave them out."""
    boxes = {index: found for index, found in model.boxes.items() if index in model.splits}
    return Model(model.splits, boxes)


def chosen(indices: list[int]) -> pa.Array:
    return IDS.take(pa.array(indices))


def observed(store: Store, rev: str) -> Model:
    version = store.read(rev)
    index_of = {value: index for index, value in enumerate(IDS.to_pylist())}
    boxes: dict[int, list[int]] = {
        index_of[value]: [] for value in version.layer_assets("ground_truth").to_pylist()
    }
    for row in version.layer("ground_truth").to_pylist():
        boxes[index_of[row["asset_id"]]].append(row["class_id"])
    splits = {index_of[row["asset_id"]]: row["split"] for row in version.assets().to_pylist()}
    return Model(splits, boxes)


TestHistories = Histories.TestCase
UNHURRIED = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
TestHistories.settings = settings(UNHURRIED, max_examples=12, stateful_step_count=15)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_many_long_histories() -> None:
    run_state_machine_as_test(
        Histories, settings=settings(UNHURRIED, max_examples=150, stateful_step_count=40)
    )
