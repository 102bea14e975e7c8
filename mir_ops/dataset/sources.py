"""A source of an import, opened: its images, its annotations, and which belong together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from mir_ops.dataset.layout import (
    Layout,
    annotation_layout,
    find_layout,
    guess_format,
    index_layout,
    read_split_names,
)
from mir_ops.dataset.matching import match_files, match_names, match_rows
from mir_ops.dataset.parsing import Parsing
from mir_ops.dataset.report import Tally
from mir_ops.formats import FORMATS, FormatName
from mir_ops.formats.archive import open_tree
from mir_ops.formats.indexes import INDEX_SUFFIXES, open_index
from mir_ops.formats.parsed import Matched, Parsed
from mir_ops.formats.reading import read_annotations
from mir_ops.formats.trees import DamagedEntryError, FileTree

AnnotationFormat = Literal["auto", "voc", "coco", "yolo", "none"]
_LONGEST_LIST: Final = 2**28  # bytes of a list of names


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some of the files of a source; `archive` is where they are packed."""

    tree: FileTree
    archive: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFiles:
    """What was given to import: images, and folders of annotations beside them."""

    name: str
    images: Part
    is_index: bool = False
    ground_truth: Part | None = None
    predictions: Part | None = None

    def digest(self) -> str:
        """A digest of the content: equal for equal files under equal names."""
        return self._digest(lambda tree, name: hashlib.sha256(tree.read(name)).digest())

    def stamp(self) -> str:
        """As the digest, but files in folders count as unchanged by size and time, unread."""
        return self._digest(
            lambda tree, name: b"%d %d" % (tree.sizes[name], tree.times.get(name, 0))
        )

    def _digest(self, of_file: Callable[[FileTree, str], bytes]) -> str:
        digest = hashlib.sha256()
        for number, part in enumerate((self.images, self.ground_truth, self.predictions)):
            digest.update(b"\0beside" if number else b"")
            if part is not None and part.archive is not None:
                with part.archive.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
            elif part is not None:
                for name in part.tree.names:
                    encoded = name.encode()
                    size = len(encoded).to_bytes(4, "big")
                    digest.update(b"%b%b%b" % (size, encoded, of_file(part.tree, name)))
        return digest.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportSource:
    """What the annotations say of images, and the splits that lists of names set."""

    images: FileTree
    annotations: FormatName
    ground_truth: Matched | None
    predictions: Matched | None
    splits: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def open_files(
    source: Path,
    *,
    index_file: Path | None = None,
    gt_dir: Path | None = None,
    pred_dir: Path | None = None,
    inside: Path | None = None,
) -> Iterator[SourceFiles]:
    """Open an archive, a folder or an index file, and the folders of annotations beside it.

    An index file names no files outside of the folder `inside`, if that is given.
    """
    if index_file is None and source.suffix.lower() in INDEX_SUFFIXES and not source.is_dir():
        index_file = source
    with ExitStack() as stack:

        def opened(path: Path) -> Part:
            tree = stack.enter_context(open_tree(path))
            return Part(tree=tree, archive=path if path.is_file() else None)

        yield SourceFiles(
            name=(index_file or source).absolute().name,
            images=Part(tree=open_index(index_file, inside=inside))
            if index_file
            else opened(source),
            is_index=index_file is not None,
            ground_truth=opened(gt_dir) if gt_dir else None,
            predictions=opened(pred_dir) if pred_dir else None,
        )


def named(files: SourceFiles, source: str) -> SourceFiles:
    """The same files under the last part of the URL that they came from."""
    return replace(files, name=urlsplit(source).path.rstrip("/").rpartition("/")[2] or files.name)


def source_digest(
    source: Path,
    *,
    index_file: Path | None = None,
    gt_dir: Path | None = None,
    pred_dir: Path | None = None,
) -> str:
    """A digest of the content of a source: equal for equal files under equal names."""
    with open_files(source, index_file=index_file, gt_dir=gt_dir, pred_dir=pred_dir) as files:
        return files.digest()


class Reading:
    """The annotations of a source on their way, while its images are stored.

    `image_sets` takes the splits from the lists in `ImageSets/Main`, or beside the annotations.
    """

    def __init__(
        self,
        files: SourceFiles,
        tally: Tally,
        *,
        annotations: AnnotationFormat = "auto",
        boxes_only: bool = False,
        image_sets: bool = False,
    ) -> None:
        for part in (files.images, files.ground_truth, files.predictions):
            for code, name in part.tree.left_out if part else ():
                tally.add(code, name)
        self.name = files.name
        self.kind = FORMATS[_format_of(files, annotations)]
        self.images = files.images.tree
        names = self.images.names
        layout = index_layout(names) if files.is_index else find_layout(names, self.kind)
        tally.add_all("file-ignored", layout.ignored)
        self.image_names = tuple(sorted(layout.images))
        self._tally = tally
        self._sets = layout if image_sets else None
        self._boxes_only = boxes_only
        self._predictions = self._beside(files.predictions, layout)
        if files.ground_truth is not None:
            self._truth = self._beside(files.ground_truth, layout)
            tally.add_all("file-ignored", layout.annotations)
        else:
            self._truth = (self.images, layout) if layout.annotations or layout.companions else None
        self._parsing = None if self._truth is None else self._started(*self._truth)

    @property
    def is_parallel(self) -> bool:
        """Whether other processes parse the annotations meanwhile."""
        return self._parsing is not None and self._parsing.is_parallel

    @property
    def is_done(self) -> bool:
        """Whether those processes are done."""
        return self._parsing is not None and self._parsing.is_done

    def finish(self) -> ImportSource:
        """All annotations, and the images that they belong to."""
        truth = predictions = None
        if self._truth is not None and self._parsing is not None:
            truth = self._matched(self._parsing.result(), self._truth[1])
        if self._predictions is not None:
            tree, layout = self._predictions
            parsed = read_annotations(
                self.kind.name,
                _files_of(layout),
                tree.read,
                boxes_only=self._boxes_only,
                like=truth.parsed if truth else None,
            )
            predictions = self._matched(parsed, layout)
        return ImportSource(
            images=self.images,
            annotations=self.kind.name,
            ground_truth=truth,
            predictions=predictions,
            splits=_splits(self.images, self._sets, self._tally) if self._sets else {},
        )

    def stop(self) -> None:
        if self._parsing is not None:
            self._parsing.stop()

    def _started(self, tree: FileTree, layout: Layout) -> Parsing:
        return Parsing(self.kind.name, _files_of(layout), tree, boxes_only=self._boxes_only)

    def _beside(self, part: Part | None, images: Layout) -> tuple[FileTree, Layout] | None:
        """A folder that was named beside the images."""
        if part is None or self.kind.name == "none":
            return None
        found = annotation_layout(part.tree.names, self.kind)
        self._tally.add_all("file-ignored", found.ignored)
        # Images in `data/images/day` and files in `gt/day` meet at `day`.
        keys = {name: key.rpartition("//")[2] for name, key in images.images.items()}
        return part.tree, replace(found, images=keys)

    def _matched(self, parsed: Parsed, layout: Layout) -> Matched:
        for finding in parsed.findings:
            self._tally.add(finding.code, finding.example, count=finding.count)
        sources = parsed.images["source"].to_pylist()
        stated = parsed.images["file_name"].to_pylist()
        if not self.kind.per_image:
            rows = match_rows(layout.images, sources, stated, self._tally)
        else:
            row_of = {source: row for row, source in enumerate(sources)}
            matched = match_files(layout, dict(zip(sources, stated, strict=True)), self._tally)
            rows = {image: row_of[name] for image, name in matched.items()}
        return Matched(parsed=parsed, rows=rows)


def _files_of(layout: Layout) -> list[str]:
    return [*layout.companions, *layout.annotations]


def _format_of(files: SourceFiles, wanted: AnnotationFormat) -> FormatName:
    if wanted != "auto":
        return wanted
    beside = [part for part in (files.ground_truth, files.predictions) if part is not None]
    for part in beside or [files.images]:
        if (found := guess_format(part.tree.sizes, in_folder=part is not files.images)) != "none":
            return found
    return "none"


def _splits(tree: FileTree, layout: Layout, tally: Tally) -> dict[str, str]:
    splits: dict[str, str] = {}
    for name in layout.sets:
        if tree.sizes[name] > _LONGEST_LIST:
            tally.add("file-too-large", name)
            continue
        try:
            text = tree.read(name).decode("utf-8", "surrogateescape")
        except DamagedEntryError:
            tally.add("entry-damaged", name)
            continue
        split, wanted = read_split_names(name, text)
        for listed, images in match_names(layout.images, wanted).items():
            if len(images) != 1:
                tally.add("set-without-image", f"{name}: {listed}")
            elif splits.setdefault(images[0], split) != split:
                tally.add("set-repeated", f"{name}: {listed} is in {splits[images[0]]} as well")
    return splits
