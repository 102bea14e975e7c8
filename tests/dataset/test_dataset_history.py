"""The past of a store: an order, names, what was made from what, and who sees it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mir_ops.dataset.history import History, Past
from mir_ops.store import Commit, Operation, Store
from mir_ops.store.objects import MemoryObjects


@pytest.fixture
def memory() -> Store:
    return Store.on(MemoryObjects(), create=True)


def put(
    store: Store, branch: str, op_id: str, *parents: Commit, project: str | None = "p"
) -> Commit:
    with store.edit(
        branch,
        op_id=op_id,
        operation=Operation(kind="import", inputs=tuple(parent.id for parent in parents)),
        message=op_id,
        parents=parents,
        project=project,
    ) as edit:
        pass
    return edit.commit


def messages(past: Past) -> list[str]:
    return [moment.message for moment in past.moments.values()]


def test_versions_come_newest_first_with_the_names_of_their_branches(memory: Store) -> None:
    first = put(memory, "p/a", "one")
    put(memory, "p/b", "two", first)
    third = put(memory, "p/a", "three")

    past = History(memory).read("p")

    assert messages(past) == ["three", "two", "one"]
    assert [str(name) for name in past.names[third.id]] == ["p/a@V2"]
    assert [str(name) for name in past.names[first.id]] == ["p/a@V1"]
    assert [moment.message for moment in past.of_branch("p/a")] == ["three", "one"]
    assert [moment.message for moment in past.heirs[first.id]] == ["three", "two"]


def test_versions_of_others_are_left_out_and_bridged(memory: Store) -> None:
    first = put(memory, "p/a", "one")
    put(memory, "p/a", "hidden", project=None)
    last = put(memory, "p/a", "three")
    put(memory, "q/a", "secret", project="q")

    past = History(memory).read("p")

    assert messages(past) == ["three", "one"]
    assert past.moments[last.id].parents == (first.id,)
    assert [str(name) for name in past.names[last.id]] == ["p/a@V3"]
    assert [each.name for each in past.datasets] == ["p/a"]
    assert len(History(memory).read().moments) == 4


def test_deleted_branches_are_told_apart(memory: Store) -> None:
    put(memory, "p/a", "one")
    put(memory, "p/b", "two")
    history = History(memory)
    assert len(history.read("p").datasets) == 2

    memory.branch("p/b").delete()

    past = history.read("p")
    assert [each.name for each in past.datasets] == ["p/a"]
    assert [(each.name, each.number, each.tip.message) for each in past.deleted] == [
        ("p/b", 1, "two")
    ]
    assert messages(past) == ["one"]


def test_commits_are_read_once(memory: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(100):
        put(memory, "p/a", str(number))
    history = History(memory)
    history.read("p")
    put(memory, "p/a", "more")
    asked: list[str] = []
    commit = memory.commit
    monkeypatch.setattr(memory, "commit", lambda id_: [asked.append(id_), commit(id_)][1])

    assert len(history.read("p").moments) == 101

    assert len(asked) == 1


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.lists(st.integers(0, 30), max_size=3)), max_size=20
    )
)
def test_every_version_comes_before_its_parents(steps: list[tuple[str, list[int]]]) -> None:
    store = Store.on(MemoryObjects(), create=True)
    made: list[Commit] = []
    for number, (branch, parents) in enumerate(steps):
        chosen = [made[parent] for parent in parents if parent < len(made)]
        made.append(put(store, f"p/{branch}", str(number), *chosen))

    past = History(store).read("p")

    place = {commit: index for index, commit in enumerate(past.moments)}
    assert len(place) == len({commit.id for commit in made})
    for commit in made:
        assert all(place[parent] > place[commit.id] for parent in commit.parents)
