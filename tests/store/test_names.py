from __future__ import annotations

import pickle

import pytest
from sample_tables import asset_ids, commit_assets

from mir_ops.errors import ConflictError, InvalidInputError, NotFoundError
from mir_ops.store import Store, operation_id


def test_branch_tag_number_and_id_name_a_commit(store: Store) -> None:
    commits = [commit_assets(store, "p/training", asset_ids(1, seed=seed)) for seed in range(3)]
    store.create_tag("p/training@r1", commits[1].id)

    assert store.resolve("p/training") == commits[2]
    assert store.resolve("p/training@r1") == commits[1]
    assert store.resolve("p/training@V1") == commits[0]
    assert store.resolve(commits[0].id) == commits[0]
    assert store.resolve(commits[0].id[:12]) == commits[0]
    assert store.tags() == {"p/training@r1": commits[1].id}
    assert [branch.name for branch in store.branches()] == ["p/training"]
    assert [commit.id for commit in store.branch("p/training").log(limit=2)] == [
        commits[2].id,
        commits[1].id,
    ]


def test_unknown_name_is_told_with_close_ones(store: Store) -> None:
    commit_assets(store, "digits/training", asset_ids(1))

    with pytest.raises(NotFoundError) as caught:
        store.resolve("digits/trainig")

    assert str(caught.value) == "No branch, tag or commit is called `digits/trainig`"
    assert caught.value.hint == "Did you mean `digits/training`?"
    assert pickle.loads(pickle.dumps(caught.value)).hint == caught.value.hint


def test_number_beyond_the_branch_says_what_there_is(local_store: Store) -> None:
    commit_assets(local_store, "b", asset_ids(1))

    with pytest.raises(NotFoundError, match="Branch `b` has versions V1 to V1, not V2"):
        local_store.resolve("b@V2")


def test_number_older_than_the_ref_remembers_is_found() -> None:
    store = Store.open("memory:")
    commits = [commit_assets(store, "b", asset_ids(1, seed=seed)) for seed in range(70)]

    assert store.resolve("b@V2") == commits[1]
    assert store.resolve("b@V69") == commits[68]


def test_tag_never_moves(store: Store) -> None:
    one = commit_assets(store, "b", asset_ids(1, seed=1))
    two = commit_assets(store, "b", asset_ids(1, seed=2))
    store.create_tag("b@t", one.id)
    store.create_tag("b@t", one.id)

    with pytest.raises(ConflictError) as caught:
        store.create_tag("b@t", two.id)

    assert caught.value.code == "tag-exists"


def test_names_that_differ_in_case_only_are_refused(store: Store) -> None:
    commit_assets(store, "digits", asset_ids(1))

    with pytest.raises(InvalidInputError) as caught:
        commit_assets(store, "Digits", asset_ids(1))

    assert str(caught.value) == "`Digits` differs from `digits` only in upper and lower case"


@pytest.mark.parametrize(
    "name",
    ["", "a@b", "a b", "../x", "a//b", "/a", "a/", "con", "a/NUL.txt", "a.", "x" * 300, "a\\b"],
)
def test_dangerous_branch_names_are_refused(local_store: Store, name: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        local_store.branch(name)

    assert caught.value.code == "invalid-branch-name"


@pytest.mark.parametrize("name", ["p/training", "ärger", "a.lock", ".hidden", "a%2Fb", "日本"])
def test_any_other_name_comes_back_as_it_was(store: Store, name: str) -> None:
    commit_assets(store, name, asset_ids(1))

    assert [branch.name for branch in store.branches()] == [name]
    assert store.branch(name).exists


def test_operation_id_depends_on_place_and_inputs_alone() -> None:
    one = operation_id("local/dag/run/train/-1", {"epochs": 3, "base": "abc"})

    assert one == operation_id("local/dag/run/train/-1", {"base": "abc", "epochs": 3})
    assert one != operation_id("local/dag/run/train/-1", {"base": "abc", "epochs": 4})
    assert one == "ba2a47595c27dbbf0436cc8736057d83488911221ecbc6b3292184be5d0780c0"


def test_classes_keep_their_ids(store: Store) -> None:
    assert store.register_classes(["Cat", " dog"]) == {"cat": 0, "dog": 1}
    assert store.register_classes(["bird", "CAT"]) == {"bird": 2, "cat": 0}
    assert store.classes() == {"cat": 0, "dog": 1, "bird": 2}
    with pytest.raises(InvalidInputError, match="cannot name a class"):
        store.register_classes([" "])
