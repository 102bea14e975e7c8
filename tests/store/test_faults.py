"""Every step of a commit fails in turn: the branch is old or new, and a retry commits once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pytest
from sample_tables import OPERATION, asset_ids, asset_rows, box_rows, commit_assets, recount

from mir_ops.errors import StoreError
from mir_ops.store import Store, refs
from mir_ops.store.backoff import Backoff
from mir_ops.store.local import LocalObjects
from mir_ops.store.objects import (
    Entry,
    MemoryObjects,
    ObjectStore,
    OutcomeUnknownError,
    Versioned,
)

T = TypeVar("T")


class Killed(BaseException):
    """The process is gone: nobody catches this."""


class FailingObjects:
    """Counts every call and fails at one of them, before it or after it landed."""

    def __init__(self, inner: ObjectStore, fail_at: int = -1, mode: str = "") -> None:
        self.inner = inner
        self.url = inner.url
        self.steps = 0
        self.fail_at = fail_at
        self.mode = mode

    def find(self, key: str) -> bytes | None:
        return self._step(lambda: self.inner.find(key))

    def size(self, key: str) -> int | None:
        return self._step(lambda: self.inner.size(key))

    def local_path(self, key: str) -> Path | None:
        return self.inner.local_path(key)

    def fetch(self, key: str, destination: Path) -> bool:
        return self._step(lambda: self.inner.fetch(key, destination))

    def create(self, key: str, body: bytes | Path) -> bool:
        return self._step(lambda: self.inner.create(key, body))

    def create_all(self, items: Sequence[tuple[str, bytes | Path]]) -> None:
        for key, body in items:
            self.create(key, body)

    def sync(self) -> None:
        self._step(self.inner.sync)

    def find_versioned(self, key: str) -> Versioned | None:
        return self._step(lambda: self.inner.find_versioned(key))

    def swap(self, key: str, body: bytes, expected: Versioned | None) -> None:
        error = OutcomeUnknownError("lost")
        self._step(lambda: self.inner.swap(key, body, expected), error)

    def list(self, prefix: str) -> Iterator[str]:
        return self._step(lambda: self.inner.list(prefix))

    def entries(self, prefix: str) -> Iterator[Entry]:
        return self._step(lambda: self.inner.entries(prefix))

    def leftovers(self) -> Iterator[Entry]:
        return self.inner.leftovers()

    def delete(self, key: str) -> None:
        self._step(lambda: self.inner.delete(key))

    def clock(self) -> float:
        return self.inner.clock()

    def _step(self, do: Callable[[], T], error: BaseException | None = None) -> T:
        self.steps += 1
        if self.steps != self.fail_at:
            return do()
        if self.mode.endswith("after"):
            do()
        raise Killed if self.mode.startswith("kill") else error or StoreError("disk trouble")


IDS = asset_ids(4)
NEW = asset_ids(3, seed=5)


def second_commit(objects: ObjectStore) -> str:
    store = Store(objects, "")
    with store.edit("b", op_id="second", operation=OPERATION, message="Second") as edit:
        edit.put_assets(asset_rows(NEW, split="val"))
        edit.remove_assets(IDS[:1])
        edit.put_layer("ground_truth", box_rows(NEW), assets=NEW)
    return edit.commit.id


def fresh(kind: str, folder: Path) -> ObjectStore:
    if kind == "local":
        folder.mkdir()
    objects: ObjectStore = LocalObjects(folder) if kind == "local" else MemoryObjects()
    commit_assets(Store.on(objects, create=True), "b", IDS, op_id="first", boxes=1)
    return objects


def steps_of_a_commit(kind: str, folder: Path) -> int:
    counting = FailingObjects(fresh(kind, folder))
    second_commit(counting)
    return counting.steps


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        ("memory", "error before"),
        ("memory", "error after"),
        ("memory", "kill before"),
        ("memory", "kill after"),
        ("local", "kill after"),
    ],
)
def test_any_failing_step_leaves_old_or_new_and_a_retry_commits_once(
    kind: str, mode: str, tmp_path: Path
) -> None:
    steps = steps_of_a_commit(kind, tmp_path / "count")
    assert steps > 15

    for step in range(1, steps + 1):
        objects = fresh(kind, tmp_path / f"{step}")
        first = Store(objects, "").resolve("b").id
        reported = None
        with suppress(Killed, StoreError):
            reported = second_commit(FailingObjects(objects, step, mode))
        store = Store(objects, "")
        tip = store.resolve("b")
        assert tip.id == first or tip.op_id == "second"
        if reported is not None:
            assert tip.id == reported

        again = second_commit(objects)

        commits = list(store.branch("b").log())
        assert [commit.op_id for commit in commits] == ["second", "first"]
        assert commits[0].id == again
        assert reported in (None, again)
        version = store.read("b")
        assert version.stats.assets == 6
        recount(version)


def test_lost_answer_to_the_ref_move_is_settled_in_the_same_call() -> None:
    class LostAnswer(FailingObjects):
        def swap(self, key: str, body: bytes, expected: Versioned | None) -> None:
            self.inner.swap(key, body, expected)
            raise OutcomeUnknownError("timeout after send")

    objects = fresh("memory", Path())

    commit_id = second_commit(LostAnswer(objects))

    assert Store(objects, "").resolve("b").id == commit_id
    assert Store(objects, "").branch("b").seq == 2


def test_lost_answer_with_others_on_top_is_no_conflict() -> None:
    objects = fresh("memory", Path())

    class LostThenOvertaken(FailingObjects):
        lost = False

        def swap(self, key: str, body: bytes, expected: Versioned | None) -> None:
            self.inner.swap(key, body, expected)
            if not self.lost:
                self.lost = True
                for seed in range(20, 90):  # more than the ref remembers
                    commit_assets(Store(self.inner, ""), "b", asset_ids(1, seed=seed))
                raise OutcomeUnknownError("timeout after send")

    commit_id = second_commit(LostThenOvertaken(objects))

    store = Store(objects, "")
    found = store.find_operation("b", "second")
    assert found is not None
    assert found.id == commit_id
    assert [commit.op_id for commit in store.branch("b").log()].count("second") == 1


def test_silent_store_ends_in_an_error_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(refs, "Backoff", lambda: Backoff(deadline_seconds=0.1))

    class Silent(FailingObjects):
        down = False

        def swap(self, key: str, body: bytes, expected: Versioned | None) -> None:
            self.down = True
            raise OutcomeUnknownError(f"timeout moving {key} to {body!r} from {expected}")

        def find_versioned(self, key: str) -> Versioned | None:
            if self.down:
                raise StoreError("unreachable")
            return self.inner.find_versioned(key)

    with pytest.raises(StoreError) as caught:
        second_commit(Silent(fresh("memory", Path())))

    assert caught.value.code == "commit-outcome-unknown"
    assert str(caught.value) == (
        "Operation `second` may or may not be committed: the store stopped answering"
    )


def test_operation_without_a_record_is_found_after_the_ref_forgot_it() -> None:
    objects = fresh("memory", Path())
    commit_id = second_commit(objects)
    objects.delete("ops/second")  # its writer was killed right after the ref moved

    for seed in range(20, 90):
        commit_assets(Store(objects, ""), "b", asset_ids(1, seed=seed))

    found = Store(objects, "").find_operation("b", "second")
    assert found is not None
    assert found.id == commit_id
