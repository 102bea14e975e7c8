"""Images of a source, read, hashed and looked at, a batch at a time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

from mir_ops.dataset.pace import Pace
from mir_ops.dataset.report import Tally
from mir_ops.formats.archive import DamagedEntryError, FileTree
from mir_ops.formats.images import (
    ImageFacts,
    ImageRefusedError,
    extension_agrees,
    inspect_image,
)

Progress = Callable[[float, str], None]

_BATCH_FILES: Final = 2048
_BATCH_BYTES: Final = 64 * 2**20
_SMALL: Final = 2**15  # mean bytes of images below which a second thread only gets in the way
_CHUNK: Final = 16


class ReadImage(NamedTuple):
    """An image that is taken. `body` has its bytes, or is the path of a file to link."""

    name: str
    sha256: str
    body: bytes | str
    facts: ImageFacts


def read_images(
    tree: FileTree,
    names: Sequence[str],
    tally: Tally,
    *,
    link: bool = False,
    on_progress: Progress = lambda _share, _message: None,
) -> Iterator[list[ReadImage]]:
    """Batches of images that decode, in the order of their names.

    With `link` the bytes of images that are files of their own are not kept.
    """
    pace = Pace("images", len(names))
    for batch in _read(tree, names, link):
        yield _taken(batch, tally)
        pace.add(len(batch))
        on_progress(pace.share, str(pace))


Read = ReadImage | tuple[str, str]


def _read(tree: FileTree, names: Sequence[str], link: bool) -> Iterator[list[Read]]:
    def read(chunk: Sequence[str]) -> list[Read]:
        return [_read_image(tree, name, link) for name in chunk]

    batches = _batches(names, tree.sizes)
    if sum(tree.sizes[name] for name in names) < _SMALL * len(names):
        yield from map(read, batches)
        return
    # Decoders, hashes, reads and the inflater leave Python's lock: threads are enough.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        ahead: list[Iterable[list[Read]]] = []
        for batch in batches:
            chunks = [batch[n : n + _CHUNK] for n in range(0, len(batch), _CHUNK)]
            # The next batch is read while the caller writes this one.
            ahead.append(pool.map(read, chunks))
            if len(ahead) > 1:
                yield [image for chunk in ahead.pop(0) for image in chunk]
        for rest in ahead:
            yield [image for chunk in rest for image in chunk]


def _read_image(tree: FileTree, name: str, link: bool) -> Read:
    """The image, or the issue (code, example) to count."""
    try:
        data = tree.read(name)
        facts = inspect_image(data)
    except DamagedEntryError:
        return "entry-damaged", name
    except ImageRefusedError as error:
        return error.code, f"{name}: {error}" if str(error) else name
    body = (tree.file(name) if link else None) or data
    return ReadImage(name, hashlib.sha256(data).hexdigest(), body, facts)


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
