"""Storing many blobs, a batch at a time: one reaches the disk while the next is made ready."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

from mir_ops.store import keys
from mir_ops.store.file_systems import can_flush
from mir_ops.store.local import LocalObjects, Staged
from mir_ops.store.objects import ObjectStore


class BlobWriter:
    """Batches of blobs into one root, durable when the block ends without an error.

    `link` lets files on the root's own file system become blobs as they are, uncopied.
    """

    def __init__(self, root: ObjectStore, *, link: bool = False) -> None:
        self._root = root
        self._link = link
        self._pool = ThreadPoolExecutor(1)
        self._flushing: tuple[Staged, Future[None]] | None = None

    def put(self, items: Sequence[tuple[str, bytes | str]]) -> None:
        """Store bytes, or files by their paths, that the caller has hashed."""
        held = [(keys.blob(name), body) for name, body in items if isinstance(body, bytes)]
        files = [(keys.blob(name), body) for name, body in items if isinstance(body, str)]
        if self._link and isinstance(self._root, LocalObjects):
            files = self._root.link_all(files)
        bodies: list[tuple[str, bytes | Path]] = [*held]
        bodies += [(key, Path(body)) for key, body in files]
        if not isinstance(self._root, LocalObjects) or not can_flush():
            self._root.create_all(bodies)
        elif bodies:
            staged = self._root.stage(bodies)
            try:
                self._settle()
            except BaseException:
                staged.discard()
                raise
            self._flushing = staged, self._pool.submit(staged.flush)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._settle()
                self._root.sync()
        finally:
            self._pool.shutdown()
            if self._flushing is not None:
                self._flushing[0].discard()

    def _settle(self) -> None:
        """Name the last batch as soon as it is on disk."""
        if self._flushing is None:
            return
        staged, flushed = self._flushing
        flushed.result()
        staged.name()
        staged.discard()
        self._flushing = None
