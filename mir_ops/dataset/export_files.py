"""The annotation files of an export: one for each image, or one for all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.errors import NotFoundError
from mir_ops.formats.coco_texts import FILE as COCO_FILE
from mir_ops.formats.coco_texts import annotation_texts, categories_text, image_texts
from mir_ops.formats.mask_images import PaintedMasks, label_map, paint_masks
from mir_ops.formats.texts import ExportedImages, by_image
from mir_ops.formats.voc_texts import voc_texts
from mir_ops.formats.yolo_texts import ark_texts, yolo_texts
from mir_ops.store.file_systems import write_file
from mir_ops.taxonomy import Taxonomy

_SUFFIXES: Final = {"voc": ".xml", "yolo": ".txt", "ark": ".txt"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportClasses:
    """The classes that objects are written with, in the order of the taxonomy."""

    ids: pa.Array
    names: tuple[str, ...]
    wanted: frozenset[int] | None

    @classmethod
    def of(cls, taxonomy: Taxonomy, wanted: Sequence[int] | None) -> ExportClasses:
        chosen = None if wanted is None else frozenset(wanted)
        kept = [each for each in taxonomy.classes if chosen is None or each.id in chosen]
        return cls(
            ids=pa.array([each.id for each in kept], pa.int32()),
            names=tuple(each.name for each in kept),
            wanted=chosen,
        )

    def numbers_of(self, class_ids: pa.ChunkedArray) -> npt.NDArray[np.int64]:
        """The place of each class among these, from 0."""
        numbers = pc.index_in(class_ids, value_set=self.ids)
        if numbers.null_count:
            unknown = class_ids.filter(pc.is_null(numbers))[0].as_py()
            raise NotFoundError(
                f"No class has the id {unknown}",
                code="no-such-class",
                hint="List the classes with `mir show`",
            )
        return np.asarray(numbers.to_numpy(), np.int64)

    def names_of(self, class_ids: pa.ChunkedArray) -> pa.Array:
        numbers = pa.array(self.numbers_of(class_ids))
        return pa.array(self.names, pa.string()).take(numbers)


class AnnotationFiles(Protocol):
    """Annotations of one layer on their way to files."""

    count: int  # images that were written
    names: list[str]  # of its files in the folder

    def write(
        self, images: ExportedImages, stems: Sequence[str], pool: ThreadPoolExecutor
    ) -> None: ...

    def finish(self) -> None: ...


class MaskFiles:
    """Pascal VOC's masks: two PNGs for each image that has some, named as its XML file is."""

    def __init__(self, folder: Path, classes: ExportClasses) -> None:
        self.folders = mask_folders(folder)
        self._label_map = folder / "labelmap.txt"
        self._classes = classes

    def write(
        self, images: ExportedImages, stems: Sequence[str], pool: ThreadPoolExecutor
    ) -> PaintedMasks:
        if images.objects["rle"].null_count == images.objects.num_rows:
            return PaintedMasks.none(images.objects.num_rows)
        for folder in self.folders:
            folder.mkdir(parents=True, exist_ok=True)

        def write(image: int, *pictures: bytes) -> None:
            name = stems[image].rpartition("/")[2]
            for folder, picture in zip(self.folders, pictures, strict=True):
                write_file(f"{folder}/{name}.png", picture)

        numbers = self._classes.numbers_of(images.objects["class_id"])
        return paint_masks(images, numbers, write, pool)

    def finish(self) -> None:
        if self.folders[0].exists():
            write_late(self._label_map, label_map(self._classes.names))


class TextFiles:
    """A file for each image, and perhaps masks beside it."""

    def __init__(
        self,
        folder: Path,
        kind: str,
        classes: ExportClasses,
        *,
        described: bool,
        masks: MaskFiles | None = None,
    ) -> None:
        self.folder = folder
        self._masks = masks
        self.count = 0
        self.names: list[str] = []
        self._kind = kind
        self._classes = classes
        self._described = described  # a `data.yaml` says what the classes are called

    def write(self, images: ExportedImages, stems: Sequence[str], pool: ThreadPoolExecutor) -> None:
        texts = self._texts(images, stems, pool)
        top, suffix = str(self.folder), _SUFFIXES[self._kind]
        names = [stem + suffix for stem in stems]
        _, offsets, data = texts.buffers()
        bounds = np.frombuffer(offsets, np.int32, len(texts) + 1, texts.offset * 4).tolist()
        body = memoryview(data) if data is not None else memoryview(b"")

        # Small files: several threads would wait for each other.
        for name, start, end in zip(names, bounds, bounds[1:], strict=False):
            write_file(f"{top}/{name}", body[start:end])
        self.names += names
        self.count += len(names)

    def finish(self) -> None:
        if self._masks is not None:
            self._masks.finish()
        if self._kind == "yolo" and not self._described:
            lines = "".join(f"{name}\n" for name in self._classes.names)
            write_late(self.folder / "classes.txt", lines)

    def _texts(
        self, images: ExportedImages, stems: Sequence[str], pool: ThreadPoolExecutor
    ) -> pa.Array:
        if self._masks is not None:
            return voc_texts(images, self._masks.write(images, stems, pool))
        numbers = self._classes.numbers_of(images.objects["class_id"])
        return (yolo_texts if self._kind == "yolo" else ark_texts)(images, numbers)


class CocoFile:
    """One file for all images. Images and annotations are gathered beside it, then joined."""

    def __init__(self, folder: Path, classes: ExportClasses) -> None:
        self.count = 0
        self.names: list[str] = []
        self._target = folder / COCO_FILE
        self._classes = classes
        self._objects = 0
        ending = secrets.token_hex(6)
        self._images_at = folder / f".images.{ending}"
        self._annotations_at = folder / f".annotations.{ending}"
        self._images = self._images_at.open("wb")
        self._annotations = self._annotations_at.open("wb")
        self._images.write(b'{"info": {"description": "mir-ops export"},\n"images": [')

    def write(
        self,
        images: ExportedImages,
        stems: Sequence[str],
        pool: ThreadPoolExecutor,  # noqa: ARG002 - there is one file
    ) -> None:
        numbers = self._classes.numbers_of(images.objects["class_id"]) + 1
        _append(self._images, image_texts(images, self.count + 1), first=self.count == 0)
        texts = annotation_texts(
            images, numbers, first_image=self.count + 1, first=self._objects + 1
        )
        _append(self._annotations, texts, first=self._objects == 0)
        self.count += len(stems)
        self._objects += len(texts)

    def finish(self) -> None:
        self._annotations.close()
        self._images.write(b'],\n"annotations": [')
        with self._annotations_at.open("rb") as annotations:
            while piece := annotations.read(2**20):
                self._images.write(piece)
        self._images.write(f'],\n"categories": {categories_text(self._classes.names)}}}\n'.encode())
        self._images.close()
        self._annotations_at.unlink()
        os.replace(self._images_at, self._target)
        self.names.append(COCO_FILE)


def mask_folders(place: Path) -> tuple[Path, Path]:
    return place / "SegmentationObject", place / "SegmentationClass"


def write_late(path: Path, text: str) -> None:
    """A file that says that others are complete: it appears whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def _append(file: IO[bytes], texts: pa.Array, *, first: bool) -> None:
    if not len(texts):
        return
    text = by_image(texts, np.array([0, len(texts)]), ",\n")[0]
    file.write(b"\n" if first else b",\n")
    file.write(text.as_buffer())
