"""Dataset versions: content-addressed images, their annotations in segments, branches and tags."""

from mir_ops.store.commits import Commit, LayerStats, Operation, Stats
from mir_ops.store.edits import Edit
from mir_ops.store.operations import operation_id
from mir_ops.store.store import Branch, Store
from mir_ops.store.versions import Version

__all__ = [
    "Branch",
    "Commit",
    "Edit",
    "LayerStats",
    "Operation",
    "Stats",
    "Store",
    "Version",
    "operation_id",
]
