"""Processes that read and store images beside this one.

A parent writes names and paths of a batch to the child's input and reads what it found from its
output; the bytes of the images stay in the child. Whatever a child could not do is done again here.
"""

from __future__ import annotations

import gc
import marshal
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from mir_ops.dataset.pipes import must_receive, receive, send
from mir_ops.dataset.reading import Batch, Read, ReadImage, bodies_of, read_image
from mir_ops.formats.images import ImageFacts
from mir_ops.formats.trees import FileTree
from mir_ops.store.blob_writing import BlobWriter
from mir_ops.store.blobs import Blobs
from mir_ops.store.file_systems import read_file
from mir_ops.store.local import LocalObjects

_FROM_BATCHES: Final = 4  # below, starting a process takes longer than its share of the work
_MOST_PROCESSES: Final = 8
_COMMAND: Final = "from mir_ops.dataset.image_workers import serve; serve()"

Left = deque[tuple[int, Batch]]


class ImageWorkers:
    """Takes batches from the end of those that are left, while the caller takes the first ones."""

    def __init__(self, blobs: Blobs, tree: FileTree, left: Left, link: bool) -> None:
        self._blobs, self._tree, self._left, self._link = blobs, tree, left, link
        self._workers: list[_Worker] = []
        root = blobs.roots[0]
        if len(left) < _FROM_BATCHES or not sys.executable or not isinstance(root, LocalObjects):
            return
        if tree.file(left[0][1][0]) is not None:
            order = {"root": str(root.root), "link": link}
            count = min((os.cpu_count() or 1) - 1, _MOST_PROCESSES, len(left) - 1)
            self._workers = [_Worker(order, tree, left) for _ in range(count)]

    @property
    def done(self) -> int:
        """How many images they have read."""
        return sum(worker.done for worker in self._workers)

    def results(self) -> Iterator[list[Read]]:
        """What was found, in the order of the batches."""
        found: dict[int, bytes] = {}
        undone: dict[int, Batch] = {}
        for worker in self._workers:
            if worker.ended_well():
                found |= worker.found
            else:
                undone |= worker.taken
        for number in sorted(found | undone):
            yield _read(found[number]) if number in found else self._done_here(undone[number])

    def _done_here(self, batch: Batch) -> list[Read]:
        with self._blobs.writer(link=self._link) as writer:
            found = [read_image(self._tree, name, self._link) for name in batch]
            writer.put(bodies_of(found))
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._left.clear()
        for worker in self._workers:
            worker.stop(at_once=kind is not None)


class _Worker:
    """One process, and the thread that gives it batches."""

    def __init__(self, order: dict[str, Any], tree: FileTree, left: Left) -> None:
        self.done = 0
        self.found: dict[int, bytes] = {}  # as they came, which is smaller
        self.taken: dict[int, Batch] = {}
        self._tree, self._left = tree, left
        self._process = subprocess.Popen(
            [sys.executable, "-c", _COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._thread = threading.Thread(target=self._feed, args=(order,), daemon=True)
        self._thread.start()

    def ended_well(self) -> bool:
        """Whether it did all that it took, and all of that is durable."""
        self._thread.join()
        return self._process.wait() == 0 and len(self.found) == len(self.taken)

    def stop(self, *, at_once: bool) -> None:
        if at_once and self._process.poll() is None:
            self._process.kill()
        self._thread.join()
        self._process.wait()

    def _feed(self, order: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            with self._process.stdout as output, self._process.stdin as pipe:
                _say(pipe, order)
                for number, batch in iter(self._next, None):
                    _say(pipe, [(name, self._file(name), self._tree.sizes[name]) for name in batch])
                    self.found[number] = must_receive(output)
                    self.done += len(batch)
        except (OSError, EOFError):  # it ended early, and its exit code says so
            return

    def _next(self) -> tuple[int, Batch] | None:
        try:
            number, batch = self._left.pop()
        except IndexError:
            return None
        self.taken[number] = batch
        return number, batch

    def _file(self, name: str) -> str:
        path = self._tree.file(name)
        assert path is not None
        return path


def serve() -> None:
    """What a child does: store the images that its input names, and say what they are."""
    gc.disable()  # there are no circles in what is made here
    pipe, output = sys.stdin.buffer, sys.stdout.buffer
    order = _heard(pipe)
    with BlobWriter(LocalObjects(Path(order["root"])), link=order["link"]) as writer:
        while (batch := receive(pipe)) is not None:
            tree = _tree_of(marshal.loads(batch))
            found = [read_image(tree, name, order["link"]) for name in tree.sizes]
            writer.put(bodies_of(found))
            _say(output, [_packed(each) for each in found])


def _tree_of(files: list[tuple[str, str, int]]) -> FileTree:
    sizes = {name: size for name, _, size in files}
    paths = {name: path for name, path, _ in files}
    return FileTree(
        sizes,
        _read=lambda name: read_file(paths[name], sizes[name]),
        _file=paths.__getitem__,
    )


def _packed(found: Read) -> tuple[Any, ...]:
    """As `marshal` takes it: plain tuples."""
    if not isinstance(found, ReadImage):
        return found
    return found.name, found.sha256, tuple(found.facts)


def _read(found: bytes) -> list[Read]:
    return [_unpacked(each) for each in marshal.loads(found)]


def _unpacked(found: tuple[Any, ...]) -> Read:
    if len(found) == 2:
        return found
    name, sha256, facts = found
    return ReadImage(name, sha256, b"", ImageFacts._make(facts))


def _say(pipe: IO[bytes], what: Any) -> None:
    send(pipe, marshal.dumps(what))
    pipe.flush()


def _heard(pipe: IO[bytes]) -> Any:
    return marshal.loads(must_receive(pipe))
