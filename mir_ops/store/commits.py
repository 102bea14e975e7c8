"""Commits: what a dataset version says about itself, and its bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from google.protobuf.message import DecodeError

from mir_ops.errors import InvalidInputError
from mir_ops.proto import store_pb2
from mir_ops.store import keys, wire
from mir_ops.store.objects import ObjectStore, corrupt_object, read_object

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What made a commit. `parameters` is JSON-able, `inputs` are commit ids."""

    kind: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    executor: str | None = None
    seed: int | None = None
    code_version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerStats:
    """Exact counts of one layer. `assets` are covered ones, also those with zero rows."""

    assets: int = 0
    rows: int = 0
    classes: Mapping[int, int] = field(default_factory=dict)
    class_assets: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Exact counts of a dataset version. The split `""` counts assets without one."""

    assets: int = 0
    splits: Mapping[str, int] = field(default_factory=dict)
    layers: Mapping[str, LayerStats] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One dataset version. Its id is the hash of its bytes as they were first written."""

    id: str
    parents: tuple[str, ...]
    manifest: str
    generation: int
    op_id: str
    operation: Operation
    project: str | None
    round: str | None
    run: str | None
    author: str
    message: str
    created_at: datetime
    keywords: tuple[str, ...]
    stats: Stats
    equivalent_to: str | None = None


def write_commit(objects: ObjectStore, commit: Commit) -> Commit:
    """Store a commit whose id is not known yet, and return it with its id."""
    commit_id, stored = wire.frame(wire.COMMIT, _message(commit))
    objects.create(keys.stored_object(commit_id), stored)
    return replace(commit, id=commit_id)


def read_commit(objects: ObjectStore, commit_id: str) -> Commit:
    """Read a commit and check that it is the one asked for."""
    key = keys.stored_object(keys.check_sha256(commit_id))
    stored = read_object(objects, key)
    try:
        read = store_pb2.Commit.FromString(wire.unframe(wire.COMMIT, commit_id, stored))
    except (wire.FramingError, DecodeError) as error:
        raise corrupt_object(objects, key, str(error)) from None
    return _commit(commit_id, read)


def to_microseconds(time: datetime) -> int:
    """Whole microseconds since 1970."""
    return (time - _EPOCH) // timedelta(microseconds=1)


def from_microseconds(value: int) -> datetime:
    """The time `value` microseconds after 1970."""
    return _EPOCH + timedelta(microseconds=value)


def _message(commit: Commit) -> wire.Message:
    message = wire.Message()
    for parent in commit.parents:
        message.element(1, bytes.fromhex(parent))
    message.data(2, bytes.fromhex(commit.manifest)).uint(3, commit.generation)
    message.text(4, commit.op_id).element(5, _operation_message(commit.operation))
    message.text(6, commit.project).text(7, commit.round).text(8, commit.run)
    message.text(9, commit.author).text(10, commit.message)
    message.uint(11, to_microseconds(commit.created_at))
    for keyword in commit.keywords:
        message.element(12, keyword.encode())
    message.element(13, _stats_message(commit.stats))
    return message.data(14, bytes.fromhex(commit.equivalent_to or ""))


def _operation_message(operation: Operation) -> wire.Message:
    try:
        parameters = json.dumps(
            dict(operation.parameters), sort_keys=True, separators=(",", ":"), allow_nan=False
        )
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"Parameters of operation `{operation.kind}` are not JSON: {error}",
            code="invalid-parameters",
        ) from None
    message = wire.Message().text(1, operation.kind).text(2, parameters)
    for commit_id in operation.inputs:
        message.element(3, bytes.fromhex(commit_id))
    message.text(4, operation.executor).sint(5, operation.seed)
    return message.text(6, operation.code_version)


def _stats_message(stats: Stats) -> wire.Message:
    message = wire.Message().uint(1, stats.assets)
    for split, assets in sorted(stats.splits.items()):
        message.element(2, wire.Message().text(1, split).uint(2, assets))
    for layer, counts in sorted(stats.layers.items()):
        entry = wire.Message().text(1, layer).uint(2, counts.assets).uint(3, counts.rows)
        for class_id, rows in sorted(counts.classes.items()):
            entry.element(4, class_count(class_id, rows, counts.class_assets.get(class_id, 0)))
        message.element(3, entry)
    return message


def class_count(class_id: int, rows: int, assets: int) -> wire.Message:
    """One class of a layer or a segment."""
    return wire.Message().uint(1, class_id).uint(2, rows).uint(3, assets)


def _commit(commit_id: str, read: store_pb2.Commit) -> Commit:
    return Commit(
        id=commit_id,
        parents=tuple(parent.hex() for parent in read.parents),
        manifest=read.manifest.hex(),
        generation=read.generation,
        op_id=read.op_id,
        operation=_operation(read.operation),
        project=read.project or None,
        round=read.round or None,
        run=read.run or None,
        author=read.author,
        message=read.message,
        created_at=from_microseconds(read.created_at_us),
        keywords=tuple(read.keywords),
        stats=_stats(read.stats),
        equivalent_to=read.equivalent_to.hex() or None,
    )


def _operation(read: store_pb2.Operation) -> Operation:
    return Operation(
        kind=read.kind,
        parameters=json.loads(read.parameters or "{}"),
        inputs=tuple(commit_id.hex() for commit_id in read.inputs),
        executor=read.executor or None,
        seed=read.seed if read.HasField("seed") else None,
        code_version=read.code_version,
    )


def _stats(read: store_pb2.Stats) -> Stats:
    return Stats(
        assets=read.assets,
        splits={entry.split: entry.assets for entry in read.splits},
        layers={
            entry.layer: LayerStats(
                assets=entry.assets,
                rows=entry.rows,
                classes={count.class_id: count.rows for count in entry.classes},
                class_assets={count.class_id: count.assets for count in entry.classes},
            )
            for entry in read.layers
        },
    )
