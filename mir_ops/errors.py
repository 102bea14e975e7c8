"""The errors of this library: four branches, named for what the caller can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class MirError(Exception):
    """Base class. `code` is stable and for programs, the message and the hint are for people."""

    code = "mir-error"

    # Both keywords have defaults: an exception with a required keyword cannot be unpickled.
    def __init__(self, message: str, *, code: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code or self.code
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), str(self), self.code, self.hint))


class InvalidInputError(MirError):
    """What came in cannot be used: change it. Retrying does not help."""

    code = "invalid-input"


class NotFoundError(MirError):
    """What was asked for does not exist."""

    code = "not-found"


class ConflictError(MirError):
    """Somebody else was first: read again, then decide."""

    code = "conflict"


class MergeConflictError(ConflictError):
    """Both sides changed the same assets. `conflicts` has all their ids, in hex, by table."""

    code = "merge-conflict"

    def __init__(self, message: str, conflicts: Mapping[str, Sequence[str]] | None = None) -> None:
        super().__init__(
            message, hint="Choose whose changes win: strategy `host`, `guest` or `union`"
        )
        self.conflicts = conflicts or {}

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.conflicts)


class StoreError(MirError):
    """A part outside this library failed: storage, database, container engine, label tool."""

    code = "store-error"


def _rebuild(kind: type[MirError], message: str, code: str, hint: str | None) -> MirError:
    return kind(message, code=code, hint=hint)
