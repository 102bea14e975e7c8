"""What became of an operation whose answer was lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal

from mir_ops.errors import NotFoundError
from mir_ops.store import keys
from mir_ops.store.commits import Commit, from_microseconds
from mir_ops.store.operations import find_committed
from mir_ops.store.pins import find_pin
from mir_ops.store.reachability import starts_of_reflog
from mir_ops.store.refs import Ref, find_record, logged_name, read_ref

if TYPE_CHECKING:
    from mir_ops.store.store import Store

_REMEMBERED: Final = 64  # older ones have a record


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`committed`: `commit` on `branch`. `not-committed`: and nobody is at it.

    `unknown`: a writer holds a pin; it may be running, or its last request may still arrive.
    """

    op_id: str
    state: Literal["committed", "not-committed", "unknown"]
    branch: str | None = None
    commit: Commit | None = None
    number: int | None = None  # V1, V2, … on its branch
    pinned_until: datetime | None = None


def find_outcome(store: Store, op_id: str) -> Outcome:
    """Look in the records, in every branch, and in what was deleted."""
    keys.check_op_id(op_id)
    record = find_record(store.objects, op_id)
    if record is not None:
        branch, commit = record.ref.removeprefix("heads/"), store.commit(record.commit.hex())
        return _committed(op_id, branch, commit, record.seq)
    for branch, commit, number in _candidates(store, op_id):
        return _committed(op_id, branch, commit, number)
    pin = find_pin(store.objects, op_id)
    if pin is not None and pin.expires_at > store.objects.clock():
        until = from_microseconds(int(pin.expires_at * 1_000_000))
        return Outcome(op_id=op_id, state="unknown", pinned_until=until)
    return Outcome(op_id=op_id, state="not-committed")


def _candidates(store: Store, op_id: str) -> Iterator[tuple[str, Commit, int | None]]:
    """Where it is though it has no record: its writer was killed after the ref moved."""
    refs = [read_ref(store.objects, key) for key in store.objects.list(keys.HEADS)]
    for ref in refs:
        if found := find_committed(store.objects, ref, op_id):
            yield _name(ref), store.commit(found), _number(ref, found)
    # A deleted branch remembers nothing, but its reflog knows where it was.
    for start in starts_of_reflog(store.objects, refs):
        for commit in islice(_history(store, start.commit), _REMEMBERED):
            if commit.op_id == op_id:
                name = start.referrer.partition("`heads/")[2].partition("`")[0]
                yield name, commit, None


def _history(store: Store, commit_id: str) -> Iterator[Commit]:
    try:
        while True:
            commit = store.commit(commit_id)
            yield commit
            if not commit.parents:
                return
            commit_id = commit.parents[0]
    except NotFoundError:
        return  # collected


def _committed(op_id: str, branch: str, commit: Commit, number: int | None) -> Outcome:
    return Outcome(op_id=op_id, state="committed", branch=branch, commit=commit, number=number)


def _name(ref: Ref) -> str:
    return logged_name(ref.key).removeprefix("heads/")


def _number(ref: Ref, commit: str) -> int | None:
    for back, (_, known) in enumerate(reversed(ref.recent)):
        if known == commit:
            return ref.seq - back
    return None
