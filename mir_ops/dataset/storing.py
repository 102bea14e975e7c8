"""Images of a source stored, a batch at a time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Final

from mir_ops.dataset.pace import Pace, Progress
from mir_ops.dataset.reading import Batch, Read, ReadImage, bodies_of, read_image
from mir_ops.dataset.report import Tally
from mir_ops.formats.images import (
    extension_agrees,
)
from mir_ops.formats.trees import FileTree

if TYPE_CHECKING:
    from mir_ops.store.blobs import Blobs


_BATCH_FILES: Final = 2048
_BATCH_BYTES: Final = 64 * 2**20
_SMALL: Final = 2**15  # mean bytes of images below which a second thread only gets in the way
_CHUNK: Final = 16


def store_images(
    blobs: Blobs,
    tree: FileTree,
    names: Sequence[str],
    tally: Tally,
    *,
    link: bool = False,
    on_progress: Progress = lambda _share, _message: None,
) -> Generator[list[ReadImage], None, None]:
    """Batches of images that decode, in the order of their names; durable after the last one."""
    pace = Pace("images", len(names))
    batches = list(_batches(names, tree.sizes))
    many = sum(tree.sizes[name] for name in names) >= _SMALL * len(names)
    store = _stored if many else _shared
    with closing(store(blobs, tree, batches, link, pace)) as stored:
        for batch in stored:
            yield _taken(batch, tally)
            on_progress(pace.share, str(pace))


def _stored(
    blobs: Blobs, tree: FileTree, batches: Sequence[Batch], link: bool, pace: Pace
) -> Generator[list[Read], None, None]:
    """Large images: decoders, hashes, reads and the inflater leave Python's lock to threads."""
    with (
        ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool,
        blobs.writer(link=link) as writer,
    ):

        def read(chunk: Sequence[str]) -> list[Read]:
            return [read_image(tree, name, link) for name in chunk]

        ahead: deque[Iterable[list[Read]]] = deque()
        for batch in (*batches, ()):
            chunks = [batch[n : n + _CHUNK] for n in range(0, len(batch), _CHUNK)]
            # The next batch is read while this one is written.
            ahead.append(pool.map(read, chunks))
            if len(ahead) > 1:
                done = [image for chunk in ahead.popleft() for image in chunk]
                writer.put(bodies_of(done))
                pace.add(len(done))
                yield done


def _shared(
    blobs: Blobs, tree: FileTree, batches: Sequence[Batch], link: bool, pace: Pace
) -> Generator[list[Read], None, None]:
    """Small images: what is done to each holds Python's lock, so other processes take some."""
    from mir_ops.dataset.image_workers import ImageWorkers

    left, own = deque(enumerate(batches)), 0
    with ImageWorkers(blobs, tree, left, link) as workers, blobs.writer(link=link) as writer:
        while left:
            try:
                _, batch = left.popleft()
            except IndexError:  # a worker took the last one
                break
            done = [read_image(tree, name, link) for name in batch]
            writer.put(bodies_of(done))
            pace.reach((own := own + len(done)) + workers.done)
            yield done
        for done in workers.results():
            pace.reach(own := own + len(done))
            yield done


def _taken(batch: Iterable[Read], tally: Tally) -> list[ReadImage]:
    images: list[ReadImage] = []
    for item in batch:
        if not isinstance(item, ReadImage):
            tally.add(*item)
            continue
        images.append(item)
        if not extension_agrees(item.name, item.facts.media_type):
            tally.add("image-extension", f"{item.name}: {item.facts.media_type}")
    return images


def _batches(names: Sequence[str], sizes: Mapping[str, int]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for name in names:
        if batch and (size + sizes[name] > _BATCH_BYTES or len(batch) == _BATCH_FILES):
            yield batch
            batch, size = [], 0
        batch.append(name)
        size += sizes[name]
    if batch:
        yield batch
