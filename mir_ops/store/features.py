"""What a store says about itself: its identity, who may read it, blob roots, the last probe."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import Final

from google.protobuf.message import DecodeError

from mir_ops.errors import NotFoundError, StoreError
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
from mir_ops.store.probes import Depth, Probe, probe

FORMAT_VERSION: Final = 1
READER: Final = 1
WRITER: Final = 1


def create_store(objects: ObjectStore, depth: Depth) -> None:
    """Make a store where there is none, at a place that keeps what a store needs."""
    found = probe(objects, depth=depth)
    found.check()
    features = store_pb2.Features(
        min_reader=READER, min_writer=WRITER, probe=json.dumps(found.to_dict(), sort_keys=True)
    )
    try:
        objects.swap(keys.FEATURES, features.SerializeToString(deterministic=True), None)
    except PreconditionError:
        pass  # another process is creating the same store
    except OutcomeUnknownError:
        if objects.find(keys.FEATURES) is None:
            raise
    identity = wire.Message().uint(1, FORMAT_VERSION).text(2, secrets.token_hex(16))
    identity.text(3, "sha256").uint(4, int(objects.clock() * 1_000_000))
    objects.create(keys.FORMAT, bytes(identity))
    objects.sync()


def read_identity(objects: ObjectStore, body: bytes) -> str:
    """The id of the store that this `format.pb` describes, if this program can read it."""
    try:
        identity = store_pb2.Format.FromString(body)
    except DecodeError as error:
        raise corrupt_object(objects, keys.FORMAT, str(error)) from None
    if identity.version != FORMAT_VERSION or identity.hash != "sha256":
        raise _too_new(objects)
    return identity.store_id


def read_features(objects: ObjectStore) -> store_pb2.Features:
    """What a program must understand; refuses a store that this one does not."""
    return _read(objects)[1]


def add_blob_root(objects: ObjectStore, url: str) -> store_pb2.Features:
    """Record one more place of blobs; the order is the one in which they were added."""

    def add(features: store_pb2.Features) -> None:
        if url not in features.blob_roots:
            features.blob_roots.append(url)

    return _change(objects, add)


def record_probe(objects: ObjectStore, found: Probe) -> None:
    """Record what a probe of this place found, in place of the last one."""

    def replace(features: store_pb2.Features) -> None:
        features.probe = json.dumps(found.to_dict(), sort_keys=True)

    _change(objects, replace)


def _change(
    objects: ObjectStore, change: Callable[[store_pb2.Features], None]
) -> store_pb2.Features:
    """Swap in changed features. Repeating a change is harmless, so a lost answer is repeated."""
    backoff = Backoff()
    while True:
        seen, features = _read(objects)
        change(features)  # fields of later versions stay in the message
        body = features.SerializeToString(deterministic=True)
        if body == seen.body:
            return features
        try:
            objects.swap(keys.FEATURES, body, seen)
        except (PreconditionError, OutcomeUnknownError):
            if not backoff.wait():
                raise
        else:
            return features


def _read(objects: ObjectStore) -> tuple[Versioned, store_pb2.Features]:
    seen = objects.find_versioned(keys.FEATURES)
    if seen is None:
        raise NotFoundError(
            f"`{objects.url}` lacks `{keys.FEATURES}`",
            code="incomplete-store",
            hint="Creating it was interrupted: create it again at the same address",
        )
    try:
        features = store_pb2.Features.FromString(seen.body)
    except DecodeError as error:
        raise corrupt_object(objects, keys.FEATURES, str(error)) from None
    if features.min_reader > READER or features.min_writer > WRITER or features.features:
        raise _too_new(objects)
    return seen, features


def _too_new(objects: ObjectStore) -> StoreError:
    return StoreError(
        f"The store at `{objects.url}` needs a newer version of this program",
        code="store-too-new",
        hint="Upgrade mir-ops",
    )
