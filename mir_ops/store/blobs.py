"""Blobs: media, model packages and logs, named by the SHA-256 of their bytes."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Final

from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.store import keys
from mir_ops.store.objects import ObjectStore, corrupt_object

_THREADS: Final = 16
_BATCH: Final = 256


def put_blobs(objects: ObjectStore, sources: Iterable[bytes | Path]) -> list[str]:
    """Store many blobs and return their digests in order; durable when this returns."""
    digests: list[str] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        for batch in _batches(sources):
            found = list(pool.map(_digest, batch))
            unique = dict(zip(found, batch, strict=True))
            objects.create_all([(keys.blob(digest), body) for digest, body in unique.items()])
            digests += found
    objects.sync()
    return digests


def get_blob(objects: ObjectStore, sha256: str) -> bytes:
    """The bytes of a blob, checked against its name."""
    key = keys.blob(keys.check_sha256(sha256))
    body = objects.find(key)
    if body is None:
        raise _missing(objects, sha256)
    if hashlib.sha256(body).hexdigest() != sha256:
        raise corrupt_object(objects, key, "its content does not have this hash")
    return body


def fetch_blob(objects: ObjectStore, sha256: str, destination: Path) -> None:
    """Copy a blob to a file, which appears complete and checked or not at all."""
    key = keys.blob(keys.check_sha256(sha256))
    temporary = destination.with_name(f".{destination.name}.{secrets.token_hex(6)}")
    try:
        if not objects.fetch(key, temporary):
            raise _missing(objects, sha256)
        if _digest(temporary) != sha256:
            raise corrupt_object(objects, key, "its content does not have this hash")
        os.replace(temporary, destination)
    finally:
        temporary.unlink(missing_ok=True)


def has_blobs(objects: ObjectStore, digests: Sequence[str]) -> set[str]:
    """Which of these blobs are stored."""
    with ThreadPoolExecutor(_THREADS) as pool:
        sizes = pool.map(lambda digest: objects.size(keys.blob(keys.check_sha256(digest))), digests)
        return {digest for digest, size in zip(digests, sizes, strict=True) if size is not None}


def _digest(source: bytes | Path) -> str:
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    try:
        with source.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InvalidInputError(
            f"Cannot read `{source}`: {error}", code="unreadable-file"
        ) from None


def _batches(sources: Iterable[bytes | Path]) -> Iterator[list[bytes | Path]]:
    iterator = iter(sources)
    while batch := list(islice(iterator, _BATCH)):
        yield batch


def _missing(objects: ObjectStore, sha256: str) -> NotFoundError:
    return NotFoundError(
        f"Blob {sha256} is not in `{objects.url}`",
        code="missing-blob",
        hint="Import the data again: what is stored already is not copied twice",
    )
