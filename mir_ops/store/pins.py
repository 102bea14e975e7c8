"""Pins: what a running operation must not lose to garbage collection, renewed while it runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass
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
from mir_ops.store.refs import WRITER

log = logging.getLogger(__name__)

LASTING: Final = 24 * 3600.0
_RENEWED_AFTER: Final = 0.25  # of the time that it lasts: three renewals may fail


@dataclass(frozen=True, slots=True, kw_only=True)
class PinRecord:
    """A pin as it was read; times are the server's."""

    op_id: str
    writer: str
    expires_at: float
    bases: tuple[str, ...]


class Pin:
    """Keeps an operation's bases, and what it is about to commit, until it is released.

    A second process that runs the same operation shares the pin: whoever ends first removes it,
    and by then the operation is committed.
    """

    def __init__(self, objects: ObjectStore, op_id: str, *, lasting: float = LASTING) -> None:
        self._objects = objects
        self._op_id = op_id
        self._lasting = lasting
        self._bases: set[str] = set()
        self._stopped = threading.Event()
        self._timer: threading.Timer | None = None

    def hold(self, bases: Iterable[str]) -> None:
        """Write the pin, or renew the one that an earlier attempt left, and keep renewing it."""
        self._bases = set(bases)
        backoff = Backoff()
        while not (self._objects.create(keys.pin(self._op_id), self._body()) or self._renew()):
            if not backoff.wait():
                raise StoreError(
                    f"Cannot pin what operation `{self._op_id}` needs",
                    code="store-unavailable",
                    hint="Run the same command again",
                )
        self._schedule()

    def release(self) -> None:
        """Stop renewing and remove the pin."""
        self.abandon()
        try:
            self._objects.delete(keys.pin(self._op_id))
        except MirError as error:
            log.warning("Did not remove the pin of operation %s: %s", self._op_id, error)

    def abandon(self) -> None:
        """Stop renewing: the outcome is unknown, and what was written stays until it expires."""
        self._stopped.set()
        if self._timer is not None:
            self._timer.cancel()

    def _schedule(self) -> None:
        self._timer = threading.Timer(self._lasting * _RENEWED_AFTER, self._tick)
        self._timer.daemon = True
        self._timer.start()

    def _tick(self) -> None:
        if self._stopped.is_set():
            return
        try:
            self._renew()
        except MirError as error:
            log.warning("Did not renew the pin of operation %s: %s", self._op_id, error)
        if not self._stopped.is_set():
            self._schedule()

    def _renew(self) -> bool:
        """False when it is not there, or others changed it meanwhile."""
        seen = self._objects.find_versioned(keys.pin(self._op_id))
        if seen is None:
            return False
        try:
            self._objects.swap(keys.pin(self._op_id), self._body(seen), seen)
        except (PreconditionError, OutcomeUnknownError):
            return False
        return True

    def _body(self, seen: Versioned | None = None) -> bytes:
        bases, expires_at = set(self._bases), self._objects.clock() + self._lasting
        if seen is not None:
            known = _parsed(self._objects, keys.pin(self._op_id), seen.body)
            bases |= set(known.bases)
            expires_at = max(expires_at, known.expires_at)
        message = wire.Message().text(1, self._op_id).text(2, WRITER)
        message.uint(3, int(expires_at * 1_000_000))
        for commit_id in sorted(bases):
            message.element(4, bytes.fromhex(commit_id))
        return bytes(message)


def find_pin(objects: ObjectStore, op_id: str) -> PinRecord | None:
    """The pin of an operation, expired or not."""
    return read_pin(objects, keys.pin(op_id))


def read_pin(objects: ObjectStore, key: str) -> PinRecord | None:
    """The pin under a key; None when it was removed meanwhile."""
    body = objects.find(key)
    return None if body is None else _parsed(objects, key, body)


def _parsed(objects: ObjectStore, key: str, body: bytes) -> PinRecord:
    try:
        read = store_pb2.Pin.FromString(body)
    except DecodeError as error:
        raise corrupt_object(objects, key, str(error)) from None
    return PinRecord(
        op_id=read.op_id,
        writer=read.writer,
        expires_at=read.expires_at_us / 1_000_000,
        bases=tuple(base.hex() for base in read.bases),
    )
