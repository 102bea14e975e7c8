"""Walking back along first parents: the same commits as one by one, but many at a time."""

from __future__ import annotations

import threading
import time

import pytest

from mir_ops.store import Commit, Operation, Store
from mir_ops.store.ancestry import read_before, read_line
from mir_ops.store.objects import MemoryObjects

DEEP = 90  # more than a ref remembers itself


class SlowObjects(MemoryObjects):
    """Answers after a moment, as a server far away; knows how many reads waited in all."""

    def __init__(self) -> None:
        super().__init__()
        self.delay = 0.0
        self.most = 0
        self._waiting = 0
        self._count = threading.Lock()

    def find(self, key: str) -> bytes | None:
        with self._count:
            self._waiting += 1
            self.most = max(self.most, self._waiting)
        time.sleep(self.delay)
        with self._count:
            self._waiting -= 1
        return super().find(key)


def put(store: Store, branch: str, op_id: str) -> Commit:
    with store.edit(
        branch, op_id=op_id, operation=Operation(kind="import"), message=op_id, project="p"
    ) as edit:
        pass
    return edit.commit


@pytest.fixture
def objects() -> SlowObjects:
    return SlowObjects()


@pytest.fixture
def store(objects: SlowObjects) -> Store:
    """A branch with a long past, renamed on the way."""
    store = Store.on(objects, create=True)
    for number in range(DEEP):
        put(store, "p/old", f"old {number}")
    store.branch("p/old").rename("p/new")
    for number in range(DEEP):
        put(store, "p/new", f"new {number}")
    return store


def one_by_one(store: Store, commit: Commit) -> list[str]:
    found = [commit]
    while found[-1].parents:
        found.append(store.commit(found[-1].parents[0]))
    return [each.id for each in found]


def test_a_line_has_every_commit_across_a_rename(store: Store) -> None:
    tip = store.branch("p/new").tip()

    line = read_line(store, tip.id, 1000)

    assert [each.id for each in line] == one_by_one(store, tip)
    assert len(line) == 2 * DEEP + 1
    assert [each.id for each in read_line(store, tip.id, 7)] == one_by_one(store, tip)[:7]


def test_commits_of_a_line_are_read_together(store: Store, objects: SlowObjects) -> None:
    tip = store.branch("p/new").tip()
    objects.delay, objects.most = 0.002, 0

    read_line(Store.on(objects), tip.id, 1000)

    assert objects.most > 1


def test_a_line_needs_no_record_of_moves(store: Store, objects: SlowObjects) -> None:
    tip = store.branch("p/new").tip()
    for prefix in ("reflog/", "ops/"):
        for key in list(objects.list(prefix)):
            objects.delete(key)

    line = read_line(Store.on(objects), tip.id, 1000)

    assert [each.id for each in line] == one_by_one(store, tip)


def test_what_a_branch_was_before_it_was_deleted_is_not_read(store: Store) -> None:
    store.branch("p/new").delete()
    first = put(store, "p/new", "again")
    second = put(store, "p/new", "and more")

    assert [each.id for each in read_before(store, second, 1000)] == [first.id]
