"""Blobs: media, model packages and logs, named by the SHA-256 of their bytes."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Final

from mir_ops.errors import InvalidInputError, NotFoundError, StoreError
from mir_ops.store import keys
from mir_ops.store.blob_writing import BlobWriter
from mir_ops.store.local import LocalObjects
from mir_ops.store.objects import ObjectStore, SignsUrls, corrupt_object

_THREADS: Final = 16
_BATCH: Final = 256

Roots = Sequence[ObjectStore]


class Blobs:
    """The blobs of a store: in its own place, or in roots that it shares with other stores.

    New blobs go to the first root, reads look in every one; `first` is the URL of the root to put
    first, by default the one that was shared first. Roots are opened when they are needed:
    a version can be read where its media cannot.
    """

    def __init__(
        self, own: ObjectStore, shared: Callable[[], Roots], *, first: str | None = None
    ) -> None:
        self._own = own
        self._open_shared = shared
        self._first = first
        self._opened: Roots | None = None

    @property
    def roots(self) -> Roots:
        """Where blobs may be, the root of new ones first."""
        if self._opened is None:
            opened = (*self._open_shared(), self._own)
            self._opened = sorted(opened, key=lambda root: self._first not in (None, root.url))
        return self._opened

    @property
    def are_local(self) -> bool:
        """Whether all of them lie in directories, where one is read without waiting."""
        return all(isinstance(root, LocalObjects) for root in self.roots)

    def put_all(self, sources: Iterable[bytes | Path]) -> list[str]:
        """Store many blobs and return their digests in order; durable when this returns."""
        root = self.roots[0]
        digests: list[str] = []
        with ThreadPoolExecutor(_THREADS) as pool:
            for batch in _batches(sources):
                found = list(pool.map(_digest, batch))
                unique = dict(zip(found, batch, strict=True))
                root.create_all([(keys.blob(digest), body) for digest, body in unique.items()])
                digests += found
        root.sync()
        return digests

    def writer(self, *, link: bool = False) -> BlobWriter:
        """What stores batches of blobs that are hashed, or links files as blobs where it may."""
        return BlobWriter(self.roots[0], link=link)

    def get(self, sha256: str) -> bytes:
        """The bytes of a blob, checked against its name."""
        damaged: StoreError | None = None
        for root, key in self._places(sha256):
            body = root.find(key)
            if body is not None:
                if hashlib.sha256(body).hexdigest() == sha256:
                    return body
                damaged = _damaged(root, key)
        raise damaged or self._missing(sha256)

    def fetch(self, sha256: str, destination: Path) -> None:
        """Copy a blob to a file, which appears complete and checked or not at all."""
        damaged: StoreError | None = None
        temporary = destination.with_name(f".{destination.name}.{secrets.token_hex(6)}")
        try:
            for root, key in self._places(sha256):
                if root.fetch(key, temporary):
                    if _digest(temporary) == sha256:
                        os.replace(temporary, destination)
                        return
                    damaged = _damaged(root, key)
            raise damaged or self._missing(sha256)
        finally:
            temporary.unlink(missing_ok=True)

    def size(self, sha256: str) -> int:
        """How many bytes a blob has."""
        for root, key in self._places(sha256):
            if (size := root.size(key)) is not None:
                return size
        raise self._missing(sha256)

    def has(self, digests: Sequence[str]) -> set[str]:
        """Which of these blobs are stored."""
        return set(self._find(digests))

    def signed_urls(self, media_types: Mapping[str, str], *, seconds: int) -> dict[str, str]:
        """Addresses, by digest, from which a browser may load blobs as of these media types.

        Blobs that lie where no browser reaches, or nowhere, are left out.
        """
        return {
            digest: root.signed_url(key, seconds=seconds, media_type=media_types[digest])
            for digest, (root, key) in self._find(list(media_types)).items()
            if isinstance(root, SignsUrls)
        }

    def _find(self, digests: Sequence[str]) -> dict[str, tuple[ObjectStore, str]]:
        """Where each of these blobs is, of those that are stored."""
        wanted = {keys.check_sha256(digest) for digest in digests}
        found: dict[str, tuple[ObjectStore, str]] = {}
        with ThreadPoolExecutor(_THREADS) as pool:
            for root in self.roots:
                for place in range(2):
                    left = sorted(wanted - found.keys())
                    places = [keys.blob_places(one)[place] for one in left]
                    sizes = pool.map(root.size, places)
                    for digest, key, size in zip(left, places, sizes, strict=True):
                        if size is not None:
                            found[digest] = (root, key)
        return found

    def _places(self, sha256: str) -> Iterator[tuple[ObjectStore, str]]:
        places = keys.blob_places(keys.check_sha256(sha256))
        return ((root, key) for key in places for root in self.roots)

    def _missing(self, sha256: str) -> NotFoundError:
        return NotFoundError(
            f"Blob {sha256} is not in {' or '.join(f'`{root.url}`' for root in self.roots)}",
            code="missing-blob",
            hint="Import the data again: what is stored already is not copied twice",
        )


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


def _damaged(root: ObjectStore, key: str) -> StoreError:
    return corrupt_object(root, key, "its content does not have this hash")
