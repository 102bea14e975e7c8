"""Refs: names that move from commit to commit by compare-and-swap, exactly once per operation."""

from __future__ import annotations

import hashlib
import itertools
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError

from mir_ops.errors import MirError, StoreError
from mir_ops.proto import store_pb2
from mir_ops.store import keys, wire
from mir_ops.store.backoff import Backoff
from mir_ops.store.objects import (
    ObjectStore,
    OutcomeUnknownError,
    PreconditionError,
    Versioned,
    corrupt_object,
)

WRITER: Final = secrets.token_hex(8)  # tells this process's writes from all others
_KEPT: Final = 64
_THREADS: Final = 16
_CHECKED: Final = 10  # bytes at the end of a ref: tag, length and value of its checksum


@dataclass(frozen=True, slots=True, kw_only=True)
class Ref:
    """A ref as it was last read, also when it is absent or deleted.

    `seq` counts its moves and is never reused; `first_seq` is where this incarnation of the name
    begins; `recent` holds the last 64 (operation id, commit), the newest last.
    """

    key: str
    seen: Versioned | None = None
    commit: str | None = None
    seq: int = 0
    first_seq: int = 1
    recent: tuple[tuple[str, str], ...] = ()

    def commit_of(self, op_id: str) -> str | None:
        """The commit of an operation among the last 64."""
        return dict(self.recent).get(op_id)

    def commit_at(self, seq: int) -> str | None:
        """The commit that was move number `seq`, when it is among the last 64."""
        index = len(self.recent) - 1 - (self.seq - seq)
        return self.recent[index][1] if 0 <= index < len(self.recent) else None


class MovedError(Exception):
    """Somebody else moved the ref first: read it again, replay, try again."""


def read_ref(objects: ObjectStore, key: str) -> Ref:
    """The ref under `key`; one that does not exist has no commit."""
    seen = objects.find_versioned(key)
    return Ref(key=key) if seen is None else _parsed(objects, key, seen.body, seen)


def move_ref(
    objects: ObjectStore,
    ref: Ref,
    commit: str | None,
    op_id: str,
    *,
    committed: Callable[[Ref], bool],
) -> Ref:
    """Point the ref at `commit` (None: delete it) if nobody moved it since it was read.

    A lost response is settled by reading back: `committed` says whether a ref as it is now
    contains this operation. Raises MovedError when somebody else was first.
    """
    body = _body(objects, ref, commit, op_id)
    backoff = Backoff()
    while True:
        try:
            objects.swap(ref.key, body, ref.seen)
        except PreconditionError:
            # Our own first attempt may have landed without an answer.
            now = _read_back(objects, ref, op_id, backoff)
            if committed(now):
                return now
            raise MovedError from None
        except OutcomeUnknownError as error:
            now = _read_back(objects, ref, op_id, backoff)
            if committed(now):
                return now
            if now.seen != ref.seen:
                raise MovedError from None
            if not backoff.wait():
                raise outcome_unknown(op_id) from error
        else:
            return _parsed(objects, ref.key, body, None)


def outcome_unknown(op_id: str) -> StoreError:
    """The error when the store stopped answering before an operation was settled."""
    return StoreError(
        f"Operation `{op_id}` may or may not be committed: the store stopped answering",
        code="commit-outcome-unknown",
        hint="Run the same operation again: it commits once, whatever happened",
    )


def record_move(objects: ObjectStore, before: Ref, after: Ref, op_id: str) -> None:
    """Write `ops/` and the reflog after the ref moved."""
    moved = (op_id, after.commit or "")
    objects.create_all(_records(objects, after.key, after.seq, moved, before.commit or ""))


def record_deletion(objects: ObjectStore, ref: Ref, op_id: str) -> None:
    """Write the reflog of a deletion, which must not be lost, before the ref moves."""
    name = logged_name(ref.key)
    moved = wire.Message().text(1, name).uint(2, ref.seq + 1).text(3, op_id)
    moved.data(4, bytes.fromhex(ref.commit or "")).text(6, WRITER)
    moved.uint(7, int(objects.clock() * 1_000_000)).uint(8, 1)
    objects.create(keys.reflog(name, ref.seq + 1, op_id), bytes(moved))
    objects.sync()


def find_deleted(objects: ObjectStore, ref: Ref) -> str | None:
    """The commit at which a ref stood when it was deleted, by the reflog."""
    for key in objects.list(keys.reflog(logged_name(ref.key), ref.seq, "")):
        move = store_pb2.RefMove.FromString(objects.find(key) or b"")
        if move.deleted and move.seq == ref.seq:
            return move.old_commit.hex() or None
    return None


def find_moves_before(objects: ObjectStore, commit: str, op_id: str, most: int) -> list[str]:
    """Commits that a ref had before an operation moved it to this one, as far as is recorded.

    Up to `most` of them, the newest first; several records are read at a time. Nothing that is
    missing here is missing in the history: this only says what to read early.
    """
    record = find_record(objects, op_id)
    if record is None or record.commit.hex() != commit:
        return []
    prefix = keys.reflog(record.ref, 0, "").partition(f"{0:012d}")[0]
    first = keys.reflog(record.ref, max(0, record.seq - most), "")
    last = keys.reflog(record.ref, record.seq, "")
    asked = [key for key in objects.list(prefix) if first <= key < last]
    with ThreadPoolExecutor(_THREADS) as pool:
        bodies = [body for body in pool.map(objects.find, asked) if body is not None]
    moves = map(store_pb2.RefMove.FromString, reversed(bodies))
    kept = itertools.takewhile(lambda move: not move.deleted, moves)
    return [move.new_commit.hex() for move in kept]


def logged_name(key: str) -> str:
    """`heads/digits/training` for the ref of the branch `digits/training`."""
    kind, _, encoded = key.removeprefix("refs/").partition("/")
    return f"{kind}/{keys.decode(encoded)}"


def settle_oldest(objects: ObjectStore, ref: Ref) -> None:
    """Before the oldest entry leaves `recent`, its own record must exist.

    A writer killed right after its ref moved left none; so an operation without a record and not
    among the last 64 was never committed, and nobody has to walk the history to know.
    """
    if len(ref.recent) < _KEPT:
        return
    oldest = ref.recent[0]
    if objects.size(keys.operation(oldest[0])) is None:
        seq = ref.seq - len(ref.recent) + 1
        objects.create_all(_records(objects, ref.key, seq, oldest, ""))


def find_record(objects: ObjectStore, op_id: str) -> store_pb2.OpRecord | None:
    """What `ops/` says about an operation."""
    body = objects.find(keys.operation(op_id))
    return None if body is None else store_pb2.OpRecord.FromString(body)


def _records(
    objects: ObjectStore, key: str, seq: int, moved: tuple[str, str], old_commit: str
) -> list[tuple[str, bytes | Path]]:
    op_id, commit = moved
    name, new_commit = logged_name(key), bytes.fromhex(commit)
    now = int(objects.clock() * 1_000_000)
    record = wire.Message().text(1, name).data(2, new_commit).uint(3, seq)
    logged = wire.Message().text(1, name).uint(2, seq).text(3, op_id)
    logged.data(4, bytes.fromhex(old_commit)).data(5, new_commit).text(6, WRITER).uint(7, now)
    return [
        (keys.operation(op_id), bytes(record)),
        (keys.reflog(name, seq, op_id), bytes(logged)),
    ]


def _body(objects: ObjectStore, ref: Ref, commit: str | None, op_id: str) -> bytes:
    reborn = ref.commit is None
    seq = ref.seq + 1
    recent = () if reborn else ref.recent[-(_KEPT - 1) :]
    message = wire.Message().data(1, bytes.fromhex(commit or "")).uint(2, seq)
    message.text(3, op_id).text(4, f"{WRITER}-{secrets.token_hex(4)}")
    message.uint(5, int(objects.clock() * 1_000_000)).uint(6, int(commit is None))
    for known_op, known_commit in (*recent, (op_id, commit)) if commit else ():
        digest = bytes.fromhex(known_commit)
        message.element(7, wire.Message().text(1, known_op).data(2, digest))
    message.uint(8, seq if reborn else ref.first_seq)
    return bytes(message.data(9, _check(bytes(message))))


def _check(body: bytes) -> bytes:
    """What tells a ref that was damaged on its way; nothing else names its content."""
    return hashlib.sha256(body).digest()[:8]


def _parsed(objects: ObjectStore, key: str, body: bytes, seen: Versioned | None) -> Ref:
    try:
        read = store_pb2.Ref.FromString(body)
    except DecodeError as error:
        raise corrupt_object(objects, key, str(error)) from None
    if read.check != _check(body[:-_CHECKED]):
        raise corrupt_object(objects, key, "its checksum is wrong")
    return Ref(
        key=key,
        seen=seen,
        commit=None if read.deleted else read.commit.hex(),
        seq=read.seq,
        first_seq=read.first_seq,
        recent=tuple((entry.op_id, entry.commit.hex()) for entry in read.recent),
    )


def _read_back(objects: ObjectStore, ref: Ref, op_id: str, backoff: Backoff) -> Ref:
    while True:
        try:
            return read_ref(objects, ref.key)
        except MirError as error:
            if not isinstance(error, StoreError) or not backoff.wait():
                raise outcome_unknown(op_id) from error
