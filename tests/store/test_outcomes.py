"""What became of an operation, wherever its writer stopped."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from sample_tables import OPERATION, asset_ids, asset_rows, commit_assets

from mir_ops.store import Store
from mir_ops.store.objects import MemoryObjects
from mir_ops.store.outcomes import find_outcome


class Killed(BaseException):
    pass


class DiesAfterTheMove(MemoryObjects):
    dying = False

    def create_all(self, items: Sequence[tuple[str, bytes | Path]]) -> None:
        if self.dying:
            raise Killed
        super().create_all(items)


def test_committed_operation_says_where(store: Store) -> None:
    commit_assets(store, "b", asset_ids(1, seed=1))
    commit = commit_assets(store, "b", asset_ids(1), op_id="op")
    commit_assets(store, "b", asset_ids(1, seed=2))

    outcome = find_outcome(store, "op")

    assert (outcome.state, outcome.branch, outcome.number) == ("committed", "b", 2)
    assert outcome.commit == commit


def test_operation_nobody_knows_is_not_committed(store: Store) -> None:
    commit_assets(store, "b", asset_ids(1))

    outcome = find_outcome(store, "other")

    assert (outcome.state, outcome.commit) == ("not-committed", None)


def test_running_operation_is_unknown(store: Store) -> None:
    with store.edit("b", op_id="op", operation=OPERATION, message="m") as edit:
        outcome = find_outcome(store, "op")
        edit.put_assets(asset_rows(asset_ids(1)))

    assert outcome.state == "unknown"
    assert outcome.pinned_until is not None
    assert find_outcome(store, "op").state == "committed"


@pytest.mark.parametrize("deleted", [False, True])
def test_writer_killed_after_the_move_is_found_without_a_record(deleted: bool) -> None:
    objects = DiesAfterTheMove()
    store = Store.on(objects, create=True)
    commit_assets(store, "b", asset_ids(1, seed=1))
    objects.dying = True
    with suppress(Killed):
        commit_assets(store, "b", asset_ids(1), op_id="op")
    objects.dying = False
    if deleted:
        store.branch("b").delete()

    outcome = find_outcome(Store(objects, ""), "op")

    assert (outcome.state, outcome.branch) == ("committed", "b")
    assert outcome.commit is not None
    assert outcome.commit.op_id == "op"
    assert outcome.number == (None if deleted else 2)
