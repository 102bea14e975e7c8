"""One writer of the history test: edits, merges and compacts, and may be killed at any moment.

Before each operation it writes down that it begins, and afterwards what it was told: a line that
only begins is an operation whose outcome nobody knows.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pictures import ids_of, picture
from sample_tables import OPERATION, asset_rows, box_rows

from mir_ops.errors import ConflictError, MirError
from mir_ops.store import Store

PICTURES = 60


class Log:
    """Lines that survive a kill of this process: each is handed to the kernel at once."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, **entry: object) -> None:
        os.write(self._descriptor, (json.dumps(entry) + "\n").encode())


def edit(store: Store, branch: str, op_id: str, chosen: random.Random) -> str:
    bodies = [picture(number) for number in chosen.sample(range(PICTURES), 2)]
    store.put_blobs(bodies)
    ids = ids_of(bodies)
    with store.edit(branch, op_id=op_id, operation=OPERATION, message=op_id) as changes:
        if chosen.random() < 0.3:
            changes.remove_assets(ids[:1])
            ids = ids[1:]
        changes.put_assets(asset_rows(ids, chosen.choice([None, "train", "val"])))
        boxes = box_rows(ids, chosen.randrange(1, 3), chosen.randrange(3))
        changes.put_layer("ground_truth", boxes, assets=ids)
    return changes.commit.id


def merge(store: Store, branch: str, other: str, op_id: str) -> str | None:
    host, guest = store.branch(branch).find_tip(), store.branch(other).find_tip()
    if host is None or guest is None:
        return None
    return store.merge(
        branch,
        host,
        [guest],
        op_id=op_id,
        operation=OPERATION,
        message=op_id,
        strategy="guest",
    ).id


def act(store: Store, branch: str, other: str, op_id: str, chosen: random.Random) -> str:
    commit = merge(store, branch, other, op_id) if chosen.random() < 0.1 else None
    return commit or edit(store, branch, op_id, chosen)


def write(url: str, log_path: Path, name: str, operations: int, branches: Sequence[str]) -> None:
    """Run so many operations, each with an id of its own."""
    log, store, chosen = Log(log_path), Store.open(url), random.Random(name)
    for number in range(operations):
        op_id = f"{name}-{number}"
        branch, other = chosen.sample(branches, 2)
        log.write(begin=op_id, branch=branch)
        try:
            commit = act(store, branch, other, op_id, chosen)
        except ConflictError as error:
            log.write(failed=op_id, reason=str(error))
        except MirError as error:
            log.write(unknown=op_id, reason=f"{error.code}: {error}")
        else:
            log.write(acknowledged=op_id, commit=commit)
            if number % 10 == 9:
                compact(store, branch)


def compact(store: Store, branch: str) -> None:
    with suppress(ConflictError):  # others were first
        store.compact(branch)
