"""The steps of a round, one for each task of the DAG.

Each takes the workspace, its place and the round's id, and returns a small dictionary. Each may
run again: the same inputs end in the same commits, and nothing is trained or labelled twice.
"""

from __future__ import annotations

from mir_ops.rounds.closing import close_round
from mir_ops.rounds.evaluating import evaluation_step
from mir_ops.rounds.executing import Step
from mir_ops.rounds.gating import check_gate
from mir_ops.rounds.importing import import_data, merge_training
from mir_ops.rounds.labels import (
    create_label_task,
    import_labels,
    label_progress,
    labels_ready,
    merge_labels,
    renew_addresses,
)
from mir_ops.rounds.ledger import STEPS
from mir_ops.rounds.mining import mining_step
from mir_ops.rounds.opening import fail_round, open_round
from mir_ops.rounds.place import Place
from mir_ops.rounds.preparing import prepare_pool
from mir_ops.rounds.sharding import plan_shards, shard_step
from mir_ops.rounds.starting import check_start
from mir_ops.rounds.targets import check_end, check_targets
from mir_ops.rounds.training import training_step

__all__ = [
    "STEPS",
    "Place",
    "Step",
    "check_end",
    "check_gate",
    "check_start",
    "check_targets",
    "close_round",
    "create_label_task",
    "evaluation_step",
    "fail_round",
    "import_data",
    "import_labels",
    "label_progress",
    "labels_ready",
    "merge_labels",
    "merge_training",
    "mining_step",
    "open_round",
    "plan_shards",
    "prepare_pool",
    "renew_addresses",
    "shard_step",
    "training_step",
]
