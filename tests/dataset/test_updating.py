"""Taking over what another branch gained."""

from __future__ import annotations

from typing import Any

import pytest
from version_makers import classes_of, numbers_of, put

from mir_ops.dataset.conditions import Conditions
from mir_ops.dataset.filtering import filter_dataset, sample
from mir_ops.dataset.merging import merge
from mir_ops.dataset.sampling import Sampling
from mir_ops.dataset.updating import find_increment, update
from mir_ops.errors import ConflictError, InvalidInputError
from mir_ops.store import Commit, Operation, Store, merges

CATS = Conditions(include_classes=("cat",))


@pytest.fixture
def filled(store: Store) -> Store:
    """A `master` of ten images, the even ones with a cat."""
    put(store, "master", {n: ["cat"] if n % 2 == 0 else ["dog"] for n in range(10)}, op_id="m1")
    return store


def cats(store: Store, branch: str = "feature") -> Commit:
    return filter_dataset(store, "master", branch, CATS, op_id=f"{branch}-cats")


def updated(store: Store, op_id: str, branch: str = "feature", strategy: str = "stop") -> Commit:
    increment = find_increment(store, branch, "master")
    return update(store, increment, branch, strategy=strategy, op_id=op_id)


def test_new_images_pass_the_recorded_filter(filled: Store) -> None:
    cats(filled)
    put(filled, "master", {10: ["cat"], 11: ["dog"], 12: ["dog", "cat"]}, op_id="m2")

    commit = updated(filled, "u1")

    assert numbers_of(filled, "feature") == [0, 2, 4, 6, 8, 10, 12]
    assert commit.operation.parameters["gained"] == 3
    assert commit.operation.parameters["taken"] == 2
    assert [branch.name for branch in filled.branches()] == ["feature", "master"]


def test_an_update_is_done_once_and_the_next_one_starts_where_it_ended(filled: Store) -> None:
    cats(filled)
    put(filled, "master", {10: ["cat"]}, op_id="m2")
    increment = find_increment(filled, "feature", "master")

    first = update(filled, increment, "feature", op_id="u1")
    again = update(filled, increment, "feature", op_id="u1")

    assert again == first
    assert find_increment(filled, "feature", "master").is_empty
    put(filled, "master", {11: ["cat"], 13: ["dog"]}, op_id="m3")
    assert updated(filled, "u2").operation.parameters["gained"] == 2
    assert numbers_of(filled, "feature") == [0, 2, 4, 6, 8, 10, 11]


def test_samplings_are_drawn_again_with_their_seed(filled: Store) -> None:
    cats(filled, "cats")
    sample(filled, "cats", "feature", Sampling(count=3, seed=7), op_id="sampled")
    before = numbers_of(filled, "feature")
    put(filled, "master", {n: ["cat"] for n in range(20, 40)}, op_id="m2")

    increment = find_increment(filled, "feature", "master")
    assert [one.kind for one in increment.replayed] == ["filter", "sample"]
    updated(filled, "u1")
    after = numbers_of(filled, "feature")
    assert len(after) == 6
    assert set(before) < set(after)

    put(filled, "gained", {n: ["cat"] for n in range(20, 40)}, op_id="g1")
    sample(filled, "gained", "drawn", Sampling(count=3, seed=7), op_id="drawn")
    assert sorted(set(after) - set(before)) == numbers_of(filled, "drawn")


@pytest.mark.parametrize("kind", ["dedup", "split"])
def test_what_is_not_repeated_is_told(filled: Store, kind: str) -> None:
    cats(filled)
    note(filled, kind)
    sample(filled, "feature", "feature", Sampling(rate=1.0), op_id="sampled")
    put(filled, "master", {10: ["cat"]}, op_id="m2")

    increment = find_increment(filled, "feature", "master")
    commit = update(filled, increment, "feature", op_id="u1")

    assert [one.kind for one in increment.replayed] == ["filter", "sample"]
    assert [one.kind for one in increment.left] == [kind]
    assert [one["kind"] for one in commit.operation.parameters["not_replayed"]] == [kind]
    assert numbers_of(filled, "feature") == [0, 2, 4, 6, 8, 10]


@pytest.mark.parametrize("kind", ["mine", "subset"])
def test_what_cannot_be_picked_again_is_refused(filled: Store, kind: str) -> None:
    cats(filled)
    note(filled, kind)
    put(filled, "master", {10: ["cat"]}, op_id="m2")
    before = filled.branch("feature").tip()

    with pytest.raises(InvalidInputError) as caught:
        updated(filled, "u1")

    assert caught.value.code == "unrepeatable-selection"
    assert "mir merge" in (caught.value.hint or "")
    assert filled.branch("feature").tip() == before


def note(store: Store, kind: str) -> None:
    """A commit on the feature of another kind, which leaves everything as it was."""
    version = store.read("feature")
    operation = Operation(kind=kind, inputs=(version.id,))
    with store.edit("feature", op_id=kind, operation=operation, message=kind):
        pass


def test_corrections_and_removals_reach_the_images_that_are_there(filled: Store) -> None:
    cats(filled)
    put(filled, "master", {2: ["cat", "dog"], 3: ["cat"]}, remove=[4], op_id="m2")

    updated(filled, "u1")

    # 3 had no cat before: it is new for the feature.
    assert numbers_of(filled, "feature") == [0, 2, 3, 6, 8]
    assert classes_of(filled, "feature", 2) == ["cat", "dog"]


def test_what_both_changed_is_a_conflict(filled: Store) -> None:
    cats(filled)
    put(filled, "feature", {2: ["cat", "cat"]}, op_id="f1")
    put(filled, "master", {2: ["cat", "dog"]}, op_id="m2")

    with pytest.raises(ConflictError, match="Both sides changed the same assets"):
        updated(filled, "u1")
    assert classes_of(filled, "feature", 2) == ["cat", "cat"]

    updated(filled, "u2", strategy="guest")
    assert classes_of(filled, "feature", 2) == ["cat", "dog"]


def test_what_a_colleague_commits_meanwhile_stays(filled: Store) -> None:
    cats(filled)
    put(filled, "master", {10: ["cat"]}, op_id="m2")
    increment = find_increment(filled, "feature", "master")
    put(filled, "feature", {70: ["dog"]}, op_id="bob")

    update(filled, increment, "feature", op_id="u1")

    assert numbers_of(filled, "feature") == [0, 2, 4, 6, 8, 10, 70]

    # An image that was left out before cannot come back into a branch that has moved.
    put(filled, "master", {3: ["cat"]}, op_id="m3")
    increment = find_increment(filled, "feature", "master")
    put(filled, "feature", {71: ["dog"]}, op_id="bob again")
    with pytest.raises(ConflictError, match="Branch `feature` moved while it was edited"):
        update(filled, increment, "feature", op_id="u2")
    assert 71 in numbers_of(filled, "feature")


def test_a_merge_keeps_what_a_colleague_commits_meanwhile(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(filled, "other", {20: ["cat"]}, op_id="o1")
    planned = merges.plan_merge

    def plan_while_bob_commits(*args: Any, **settings: Any) -> merges.Plan:
        plan = planned(*args, **settings)
        put(filled, "master", {70: ["dog"]}, op_id="bob")
        return plan

    monkeypatch.setattr(merges, "plan_merge", plan_while_bob_commits)
    merge(filled, ["master", "other"], "master", op_id="merged")

    assert numbers_of(filled, "master") == [*range(10), 20, 70]


def test_own_additions_stay_and_do_not_hide_the_filter(filled: Store) -> None:
    cats(filled)
    put(filled, "feature", {50: ["dog"]}, op_id="f1")
    put(filled, "master", {10: ["cat"], 11: ["dog"]}, op_id="m2")

    updated(filled, "u1")

    assert numbers_of(filled, "feature") == [0, 2, 4, 6, 8, 10, 50]


def test_a_branch_without_filters_takes_everything(filled: Store) -> None:
    with filled.edit(
        "feature",
        op_id="start",
        operation=Operation(kind="branch", inputs=(filled.resolve("master").id,)),
        message="Start",
        base=filled.read("master"),
    ):
        pass
    put(filled, "feature", {60: ["dog"]}, op_id="f1")
    put(filled, "master", {10: ["dog"]}, op_id="m2")

    updated(filled, "u1")

    assert numbers_of(filled, "feature") == [*range(11), 60]


def test_nothing_gained_is_an_empty_increment(filled: Store) -> None:
    cats(filled)

    assert find_increment(filled, "feature", "master").is_empty


def test_strangers_cannot_be_updated(filled: Store) -> None:
    put(filled, "other", {1: ["cat"]}, op_id="o1")

    with pytest.raises(InvalidInputError, match="`other` does not come from `master`"):
        find_increment(filled, "other", "master")


def test_an_interrupted_update_finishes(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    cats(filled)
    put(filled, "master", {10: ["cat"], 11: ["dog"]}, op_id="m2")
    increment = find_increment(filled, "feature", "master")

    def killed(*args: object, **settings: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Store, "merge", killed)
        with pytest.raises(KeyboardInterrupt):
            update(filled, increment, "feature", op_id="u1")
    update(filled, increment, "feature", op_id="u1")

    assert numbers_of(filled, "feature") == [0, 2, 4, 6, 8, 10]
    assert [branch.name for branch in filled.branches()] == ["feature", "master"]
