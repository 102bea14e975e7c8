"""The class registry: ids are given out here, once, so that no two classes ever share one."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from google.protobuf.message import DecodeError

from mir_ops.errors import ConflictError, InvalidInputError, MirError, StoreError
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


def normalised(name: str) -> str:
    """How a class name is compared: lower case, no space around it."""
    text = name.strip().lower()
    if not text or any(ord(letter) < 32 for letter in text) or "," in text:
        raise InvalidInputError(
            f"`{name}` cannot name a class",
            code="invalid-class-name",
            hint="Use a name without commas and control characters",
        )
    return text


def read_classes(objects: ObjectStore) -> dict[str, int]:
    """All classes ever registered, by name."""
    return _read(objects)[1]


def register_classes(objects: ObjectStore, names: Sequence[str]) -> dict[str, int]:
    """The ids of these classes; unknown ones get the next free ids, in this order."""
    wanted = list(dict.fromkeys(normalised(name) for name in names))
    backoff = Backoff()
    while True:
        seen, known = _read(objects)
        new = [name for name in wanted if name not in known]
        if not new:
            return {name: known[name] for name in wanted}
        following = max(known.values(), default=-1) + 1
        grown = known | {name: following + index for index, name in enumerate(new)}
        try:
            objects.swap(keys.CLASSES, _body(seen, grown), seen)
        except (PreconditionError, OutcomeUnknownError) as error:
            # Adding names is idempotent: whoever landed, reading again settles it.
            if not backoff.wait():
                raise _gave_up(error) from error


def _read(objects: ObjectStore) -> tuple[Versioned | None, dict[str, int]]:
    seen = objects.find_versioned(keys.CLASSES)
    if seen is None:
        return None, {}
    try:
        read = store_pb2.ClassRegistry.FromString(seen.body)
    except DecodeError as error:
        raise corrupt_object(objects, keys.CLASSES, str(error)) from None
    return seen, {entry.name: entry.id for entry in read.classes}


def _body(seen: Versioned | None, classes: dict[str, int]) -> bytes:
    message = wire.Message()
    for name, class_id in sorted(classes.items(), key=lambda entry: entry[1]):
        message.element(1, wire.Message().uint(1, class_id).text(2, name))
    before = store_pb2.ClassRegistry.FromString(seen.body).seq if seen else 0
    return bytes(message.text(2, secrets.token_hex(8)).uint(3, before + 1))


def _gave_up(error: MirError) -> MirError:
    if isinstance(error, PreconditionError):
        return ConflictError(
            "Other writers registered classes all the time",
            code="registry-busy",
            hint="Run the same command again",
        )
    return StoreError(str(error), code="store-unavailable", hint="Run the same command again")
