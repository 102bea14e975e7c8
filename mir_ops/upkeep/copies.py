"""A store's objects copied to another place: what is there already stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from mir_ops.errors import ConflictError
from mir_ops.store import keys
from mir_ops.store.objects import Entry, ObjectStore

_HEX: Final = "0123456789abcdef"
_THREADS: Final = 16
_BATCH: Final = 1024
# Immutable, and what hangs on it last: a copy that breaks off lacks nothing that it names.
_SHELVED: Final = ("blobs/sha256/", "seg/sha256/", "obj/sha256/")
_FLAT: Final = ("ops/", "reflog/", "purged/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """How many objects and bytes were new to the target, and how many it had."""

    objects: int
    byte_size: int
    known: int


def copy_objects(
    source: ObjectStore, target: ObjectStore, *, on_progress: Callable[[str], None] | None = None
) -> Copied:
    """Copy all immutable objects that the target lacks; repeated, it goes on where it was.

    Whoever read the source's refs before finds all that they lead to in the target after.
    """
    check_same_store(source, target)
    objects = byte_size = known = 0
    with (
        TemporaryDirectory(prefix="mir-copy-") as folder,
        ThreadPoolExecutor(_THREADS) as pool,
    ):
        for prefix in _prefixes():
            there = set(target.list(prefix))
            missing = [entry for entry in source.entries(prefix) if entry.key not in there]
            for _ in pool.map(lambda entry: _copy(source, target, entry, Path(folder)), missing):
                pass
            objects += len(missing)
            byte_size += sum(entry.size for entry in missing)
            known += len(there)
            if on_progress is not None and missing:
                on_progress(f"{prefix}: {len(missing)} objects copied")
    target.sync()
    return Copied(objects=objects, byte_size=byte_size, known=known)


def check_same_store(source: ObjectStore, target: ObjectStore) -> None:
    """Refuse to mix two stores: a copy has the identity of its original, or none yet."""
    mine, theirs = source.find(keys.FORMAT), target.find(keys.FORMAT)
    if theirs is not None and mine != theirs:
        raise ConflictError(
            f"At `{target.url}` is another store than at `{source.url}`",
            code="other-store",
            hint="Name an empty place, or the one where this store was copied to before",
        )


def _prefixes() -> Iterator[str]:
    """Few enough keys at a time for this process, however many there are."""
    for shelved in _SHELVED:
        yield from (f"{shelved}{first}{second}/" for first in _HEX for second in _HEX)
    yield from _FLAT


def _copy(source: ObjectStore, target: ObjectStore, entry: Entry, folder: Path) -> None:
    path = folder / entry.key.replace("/", "-")
    try:
        if source.fetch(entry.key, path):  # else: removed since it was listed
            target.create(entry.key, path)
    finally:
        path.unlink(missing_ok=True)
