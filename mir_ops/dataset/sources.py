"""A source of an import, opened: its images, its annotation files, and which belong together."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, Literal

from mir_ops.dataset.layout import Layout, find_layout, index_layout, match
from mir_ops.dataset.report import Tally
from mir_ops.formats.archive import DamagedEntryError, FileTree, open_tree
from mir_ops.formats.images import (
    ImageFacts,
    ImageRefusedError,
    extension_agrees,
    inspect_image,
)
from mir_ops.formats.indexes import open_index
from mir_ops.formats.parsed import Matched
from mir_ops.formats.reading import read_annotations

AnnotationFormat = Literal["voc", "none"]
_BATCH_FILES: Final = 128
_BATCH_BYTES: Final = 64 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportSource:
    images: FileTree
    image_names: tuple[str, ...]
    ground_truth: Matched | None
    predictions: Matched | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadImage:
    name: str
    data: bytes
    facts: ImageFacts


@contextmanager
def open_source(
    source: Path,
    tally: Tally,
    *,
    annotations: AnnotationFormat,
    index_file: Path | None = None,
    gt_dir: Path | None = None,
    pred_dir: Path | None = None,
) -> Iterator[ImportSource]:
    """Open a zip archive, a folder or an index file, and read all its annotation files."""
    with ExitStack() as stack:

        def opened(path: Path) -> FileTree:
            tree = stack.enter_context(open_tree(path))
            _count_left_out(tree, tally)
            return tree

        if index_file is not None:
            images = open_index(index_file)
            _count_left_out(images, tally)
            layout = index_layout(images.names, (), tally)
        else:
            images = opened(source)
            layout = find_layout(images.names, tally)

        def beside(folder: Path | None) -> Matched | None:
            if folder is None or annotations == "none":
                return None
            tree = opened(folder)
            pair = index_layout(layout.images, tree.names, tally)
            # Images in `data/images/day` and files in `gt/day` meet at `day`.
            keys = {name: key.rpartition("//")[2] for name, key in layout.images.items()}
            return _read_set(tree, Layout(images=keys, annotations=pair.annotations), tally)

        truth = beside(gt_dir)
        if gt_dir is None and annotations != "none" and layout.annotations:
            truth = _read_set(images, layout, tally)
        yield ImportSource(
            images=images,
            image_names=tuple(sorted(layout.images)),
            ground_truth=truth,
            predictions=beside(pred_dir),
        )


def read_images(
    source: ImportSource, tally: Tally, on_progress: Callable[[float, str], None]
) -> Iterator[list[ReadImage]]:
    """Batches of images that decode, in the order of their names; a pool of threads decodes.

    The decoders, the hashes and the inflater all leave Python's lock, so threads are enough.
    """
    from concurrent.futures import ThreadPoolExecutor

    total = len(source.image_names)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        done = 0
        ahead: list[Iterable[ReadImage | tuple[str, str]]] = []
        for names in _batches(source.image_names, source.images.sizes):
            # The next batch decodes while the caller writes this one.
            ahead.append(pool.map(lambda name: _read_image(source.images, name), names))
            if len(ahead) > 1:
                batch = list(ahead.pop(0))
                done += len(batch)
                yield _taken(batch, tally)
                on_progress(done / total, f"images {done}/{total}")
        for rest in ahead:
            yield _taken(list(rest), tally)
        on_progress(1.0, f"images {total}/{total}")


def source_digest(
    source: Path,
    *,
    index_file: Path | None = None,
    gt_dir: Path | None = None,
    pred_dir: Path | None = None,
) -> str:
    """A digest of the content of a source: equal for equal files under equal names."""
    digest = hashlib.sha256()
    if index_file is not None:
        _digest_tree(digest, open_index(index_file))
    else:
        _digest_path(digest, source)
    for folder in (gt_dir, pred_dir):
        digest.update(b"\0beside")
        if folder is not None:
            _digest_path(digest, folder)
    return digest.hexdigest()


def _digest_path(digest: hashlib._Hash, path: Path) -> None:
    if path.is_file():
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    else:
        with open_tree(path) as tree:
            _digest_tree(digest, tree)


def _digest_tree(digest: hashlib._Hash, tree: FileTree) -> None:
    for name in tree.names:
        content = hashlib.sha256(tree.read(name)).digest()
        digest.update(len(name.encode()).to_bytes(4, "big") + name.encode() + content)


def _read_set(tree: FileTree, layout: Layout, tally: Tally) -> Matched:
    parsed = read_annotations("voc", list(layout.annotations), tree.read)
    for finding in parsed.findings:
        tally.add(finding.code, finding.example, count=finding.count)
    sources = parsed.images["source"].to_pylist()
    stated = dict(zip(sources, parsed.images["file_name"].to_pylist(), strict=True))
    row_of = {source: row for row, source in enumerate(sources)}
    matched = match(layout, stated, tally)
    return Matched(parsed=parsed, rows={image: row_of[name] for image, name in matched.items()})


def _read_image(tree: FileTree, name: str) -> ReadImage | tuple[str, str]:
    """The image, or the issue (code, example) to count."""
    try:
        data = tree.read(name)
        return ReadImage(name=name, data=data, facts=inspect_image(data))
    except DamagedEntryError:
        return "entry-damaged", name
    except ImageRefusedError as error:
        return error.code, f"{name}: {error}" if str(error) else name


def _taken(batch: Iterable[ReadImage | tuple[str, str]], tally: Tally) -> list[ReadImage]:
    images: list[ReadImage] = []
    for item in batch:
        if isinstance(item, tuple):
            tally.add(*item)
            continue
        images.append(item)
        if not extension_agrees(item.name, item.facts.media_type):
            tally.add("image-extension", f"{item.name}: {item.facts.media_type}")
    return images


def _batches(names: Iterable[str], sizes: Mapping[str, int]) -> Iterator[list[str]]:
    rest = iter(names)
    while chunk := list(islice(rest, _BATCH_FILES)):
        batch: list[str] = []
        size = 0
        for name in chunk:
            if batch and size + sizes[name] > _BATCH_BYTES:
                yield batch
                batch, size = [], 0
            batch.append(name)
            size += sizes[name]
        yield batch


def _count_left_out(tree: FileTree, tally: Tally) -> None:
    for code, name in tree.left_out:
        tally.add(code, name)
