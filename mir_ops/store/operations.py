"""Operations: their ids, and whether one was committed on a branch already."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from mir_ops.errors import InvalidInputError
from mir_ops.store.commits import read_commit
from mir_ops.store.objects import ObjectStore
from mir_ops.store.refs import Ref, find_record, logged_name


def operation_id(place: str, inputs: Mapping[str, Any]) -> str:
    """The id of doing something at a place with these inputs; the number of the try is not in it.

    `place` is `deployment/dag/run/task/map index`, `inputs` are commits, parameters and the like.
    """
    try:
        text = json.dumps(
            {"inputs": dict(inputs), "place": place},
            sort_keys=True,
            separators=(",", ":"),
            allow_nan=False,
        )
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"Inputs of `{place}` are not JSON: {error}", code="invalid-parameters"
        ) from None
    return hashlib.sha256(text.encode()).hexdigest()


def find_committed(objects: ObjectStore, ref: Ref, op_id: str) -> str | None:
    """The commit of an operation on this ref, since the ref was last created."""
    if ref.commit is None:
        return None
    if found := ref.commit_of(op_id):
        return found
    record = find_record(objects, op_id)
    if record is None:
        return None  # an operation leaves `recent` only after its record exists
    if record.ref == logged_name(ref.key) and record.seq >= ref.first_seq:
        return record.commit.hex()
    return _walk(objects, ref, op_id)  # the id was used on another branch, or before a deletion


def _walk(objects: ObjectStore, ref: Ref, op_id: str) -> str | None:
    commit_id, left = ref.commit, ref.seq - ref.first_seq + 1
    while commit_id is not None and left > 0:
        commit = read_commit(objects, commit_id)
        if commit.op_id == op_id:
            return commit.id
        commit_id, left = (commit.parents[0] if commit.parents else None), left - 1
        if left == 0 and commit.operation.kind == "restore":
            left = int(commit.operation.parameters["moves"])  # those of the branch before
    return None
