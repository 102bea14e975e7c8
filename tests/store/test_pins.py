from __future__ import annotations

import time

import pytest
from sample_tables import OPERATION, asset_ids, asset_rows, commit_assets

from mir_ops.errors import ConflictError
from mir_ops.store import Store
from mir_ops.store.objects import MemoryObjects, ObjectStore, OutcomeUnknownError, Versioned
from mir_ops.store.pins import LASTING, Pin, find_pin


def expiry(objects: ObjectStore, op_id: str) -> float:
    pin = find_pin(objects, op_id)
    assert pin is not None
    return pin.expires_at


def test_open_edit_is_pinned_with_its_base_and_a_finished_one_is_not(store: Store) -> None:
    base = commit_assets(store, "b", asset_ids(1))

    with store.edit("b", op_id="second", operation=OPERATION, message="m") as edit:
        pin = find_pin(store.objects, "second")
        edit.put_assets(asset_rows(asset_ids(1, seed=1)))

    assert pin is not None
    assert pin.bases == (base.id,)
    assert pin.expires_at == pytest.approx(time.time() + LASTING, abs=60)
    assert list(store.objects.list("pins/")) == []


def test_pin_is_renewed_while_it_is_held() -> None:
    objects = MemoryObjects()
    pin = Pin(objects, "op", lasting=0.4)

    pin.hold(["ab" * 32])
    first = expiry(objects, "op")
    deadline = time.monotonic() + 30
    while expiry(objects, "op") < first + 0.2 and time.monotonic() < deadline:
        time.sleep(0.02)
    renewed = expiry(objects, "op")
    pin.release()

    assert renewed >= first + 0.2
    time.sleep(0.3)
    assert list(objects.list("pins/")) == []


def test_pin_of_a_killed_attempt_is_taken_over() -> None:
    objects = MemoryObjects()
    killed = Pin(objects, "op", lasting=100)
    killed.hold(["ab" * 32])
    killed.abandon()

    again = Pin(objects, "op", lasting=1000)
    again.hold(["cd" * 32])

    pin = find_pin(objects, "op")
    assert pin is not None
    assert pin.bases == ("ab" * 32, "cd" * 32)
    assert pin.expires_at > time.time() + 900
    again.release()


def test_failing_block_and_conflict_leave_no_pin(store: Store) -> None:
    ids = asset_ids(1)
    commit_assets(store, "b", ids)
    edit = store.edit("b", op_id="late", operation=OPERATION, message="m").__enter__()
    edit.remove_assets(ids)
    commit_assets(store, "b", ids, split="val", op_id="first")
    with pytest.raises(ConflictError):
        edit.__exit__(None, None, None)
    with (
        pytest.raises(ZeroDivisionError),
        store.edit("b", op_id="failing", operation=OPERATION, message="m"),
    ):
        raise ZeroDivisionError

    assert list(store.objects.list("pins/")) == []


def test_commit_of_unknown_outcome_stays_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    from mir_ops.store import refs
    from mir_ops.store.backoff import Backoff

    class Silent(MemoryObjects):
        def swap(self, key: str, body: bytes, expected: Versioned | None) -> None:
            if key.startswith("refs/heads"):
                raise OutcomeUnknownError("lost")
            super().swap(key, body, expected)

    monkeypatch.setattr(refs, "Backoff", lambda: Backoff(deadline_seconds=0.05))
    store = Store.on(Silent(), create=True)

    with pytest.raises(Exception, match="may or may not"):
        commit_assets(store, "b", asset_ids(1), op_id="lost")

    assert find_pin(store.objects, "lost") is not None
