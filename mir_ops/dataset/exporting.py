"""Write a dataset version to folders: copies of the images, and annotations beside them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.dataset.conditions import class_ids_of
from mir_ops.dataset.export_files import (
    AnnotationFiles,
    CocoFile,
    ExportClasses,
    MaskFiles,
    TextFiles,
    mask_folders,
    write_late,
)
from mir_ops.dataset.export_losses import asset_losses, object_losses
from mir_ops.dataset.export_places import export_places
from mir_ops.dataset.pace import Pace
from mir_ops.dataset.report import Report, Tally
from mir_ops.errors import NotFoundError
from mir_ops.formats.images import EXTENSIONS
from mir_ops.formats.texts import ExportedImages
from mir_ops.formats.trees import is_safe_name
from mir_ops.formats.yolo_texts import yolo_data
from mir_ops.store import schema
from mir_ops.store.file_systems import write_file

if TYPE_CHECKING:
    from mir_ops.store import Store, Version

ExportFormat = Literal["voc", "coco", "yolo", "ark", "none"]
Names = Literal["sha1", "original"]
INDEX: Final = "index.tsv"
_BATCH: Final = 8192
_CHUNK: Final = 64
_THREADS: Final = 4
_SMALL: Final = 2**15  # mean bytes of images below which threads only wait for each other
_IN_MEMORY: Final = 8 * 2**20  # an image of more bytes is copied from file to file
_NO_SPLIT: Final = "unassigned"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFolders:
    """Where the parts go; None: this part is not written. `root` gets what describes them all."""

    images: Path | None = None
    ground_truth: Path | None = None
    predictions: Path | None = None
    root: Path | None = None

    @classmethod
    def under(
        cls, root: Path, annotations: ExportFormat, *, predictions: Path | None = None
    ) -> ExportFolders:
        """The layout that an import finds by itself."""
        name = "labels" if annotations == "yolo" else "annotations"
        return cls(
            images=root / "images",
            ground_truth=root / name if annotations != "none" else None,
            predictions=predictions,
            root=root,
        )

    def named(self) -> dict[str, Path]:
        named = {
            "images": self.images,
            "ground_truth": self.ground_truth,
            "predictions": self.predictions,
        }
        return {name: folder for name, folder in named.items() if folder is not None}

    def mask_places(self) -> dict[str, Path]:
        """Where Pascal VOC's masks go: beside the folder of annotations, or into one of YMIR's."""
        places = {name: folder for name, folder in self.named().items() if name != "images"}
        if self.root is not None and "ground_truth" in places:
            places["ground_truth"] = self.root
        return places


def export_dataset(
    store: Store,
    rev: str,
    folders: ExportFolders,
    *,
    annotations: ExportFormat = "voc",
    names: Names = "sha1",
    sub_folders: bool = False,
    class_names: Sequence[str] = (),
    on_progress: Callable[[float, str], None] = lambda _share, _message: None,
) -> Report:
    """Write images and annotations, named `<sha1>.<ext>` as in YMIR or as they came.

    An image that nobody looked at gets no annotation file and one without objects an empty one,
    so importing the folder again gives the same dataset. `index.tsv` in each folder lists its
    files and is written last. What the format has no place for is counted. An export that is
    interrupted or fails takes its files away; a killed one is started over by the next. Raises
    `ConflictError` where a folder has other files already.
    """
    version = store.read(rev)
    wanted = class_ids_of(version.taxonomy, class_names) if class_names else None
    places = folders.mask_places().values() if annotations == "voc" else ()
    masks = [part for place in places for part in mask_folders(place)]
    ids = version.asset_ids()
    pace = Pace("images", len(ids))
    with export_places(folders.named().values(), later=masks):
        export = _Export(store, version, folders, annotations, names, sub_folders, wanted)
        with ThreadPoolExecutor(_THREADS) as pool:
            for start in range(0, len(ids), _BATCH):
                export.write(ids.slice(start, _BATCH), pool)
                pace.add(min(_BATCH, len(ids) - start))
                on_progress(pace.share, str(pace))
        export.finish()
    return export.report()


def exported_names(
    store: Store, version: Version, annotations: ExportFormat, names: Names
) -> Iterator[tuple[str, str]]:
    """The hash of each image, and its file below `images` as an export to a folder names it."""
    export = _Export(store, version, ExportFolders(), annotations, names, False, None)
    ids = version.asset_ids()
    for start in range(0, len(ids), _BATCH):
        assets = version.assets(ids=ids.slice(start, _BATCH))
        hashes = [asset_id.hex() for asset_id in assets["asset_id"].to_pylist()]
        yield from zip(hashes, _with_suffix(export.stems(assets), assets), strict=True)


class _Export:
    def __init__(
        self,
        store: Store,
        version: Version,
        folders: ExportFolders,
        annotations: ExportFormat,
        names: Names,
        sub_folders: bool,
        wanted: list[int] | None,
    ) -> None:
        self._store = store
        self._version = version
        self._folders = folders
        self._format = annotations
        self._names = names
        self._sub_folders = sub_folders
        self._tally = Tally()
        self._lost: dict[str, int] = {}
        self._images: list[str] = []
        self._given: set[str] = set()
        self._splits: dict[str, list[str]] = {}
        self._shelves: set[Path] = set()
        self._by_split = annotations == "yolo" and any(
            version.stats.splits.get(s) for s in schema.SPLITS
        )
        self._classes = ExportClasses.of(version.taxonomy, wanted)
        self._files = self._annotation_files()
        self._covered = {
            layer: version.layer_assets(layer)
            for layer in version.layers()
            if schema.layer_kind(layer) in self._files
        }

    def write(self, ids: pa.Array, pool: ThreadPoolExecutor) -> None:
        assets = self._version.assets(ids=ids)
        stems = self.stems(assets)
        files = _with_suffix(stems, assets)
        if self._folders.images is not None:
            copied = np.asarray(self._copy(assets, files, pool), np.bool_)
            lost = assets["asset_id"].filter(pa.array(~copied)).to_pylist()
            self._tally.add_all("image-missing", (asset_id.hex() for asset_id in lost))
            assets = assets.filter(pa.array(copied))
            kept = np.flatnonzero(copied).tolist()
            stems, files = [stems[row] for row in kept], [files[row] for row in kept]
            self._images += files
        self._note_splits(assets, stems)
        self._lose(asset_losses(assets, self._format))
        for name, written in self._files.items():
            self._write_layer(name, written, assets, stems, files, pool)

    def finish(self) -> None:
        for written in self._files.values():
            written.finish()
        root = self._folders.root
        if root is not None and self._format == "yolo":
            write_late(root / "data.yaml", yolo_data(self._classes.names, self._split_folders()))
        if root is not None and self._format == "voc":
            for split, stems in self._splits.items():
                lines = "".join(f"{stem}\n" for stem in stems)
                write_late(root / "ImageSets" / "Main" / f"{split}.txt", lines)
        self._write_indexes()

    def report(self) -> Report:
        for what, count in self._lost.items():
            self._tally.add("not-carried", f"{what} ({count})", count=count)
        taken = {"images": len(self._images)} if self._folders.images is not None else {}
        taken |= {name: written.count for name, written in self._files.items()}
        return self._tally.report(taken)

    def _write_indexes(self) -> None:
        """A list of its files in each folder; two parts may share one."""
        listed = {name: written.names for name, written in self._files.items()}
        listed["images"] = self._images
        lines: dict[Path, list[str]] = {}
        for name, folder in self._folders.named().items():
            top = os.path.abspath(folder)
            paths = (f"{top}/{file}\n" for file in listed.get(name, ()))
            lines.setdefault(folder, []).extend(paths)
        for folder, listing in lines.items():
            write_late(folder / INDEX, "".join(listing))

    def _annotation_files(self) -> dict[str, AnnotationFiles]:
        if self._format == "none":
            return {}
        folders = self._folders.named()
        folders.pop("images", None)
        described = self._folders.root is not None
        if self._format == "coco":
            return {name: CocoFile(folder, self._classes) for name, folder in folders.items()}
        places = self._folders.mask_places() if self._format == "voc" else {}
        masks = {name: MaskFiles(place, self._classes) for name, place in places.items()}
        return {
            name: TextFiles(
                folder, self._format, self._classes, described=described, masks=masks.get(name)
            )
            for name, folder in folders.items()
        }

    def stems(self, assets: pa.Table) -> list[str]:
        """Names without a suffix, relative to the folder; each is given out once."""
        hashes = [sha1.hex() for sha1 in assets["ymir_sha1"].to_pylist()]
        stems = hashes
        if self._names == "original":
            sources = assets["source_names"].to_pylist()
            stems = [self._original(one, sha1) for one, sha1 in zip(sources, hashes, strict=True)]
        if self._sub_folders:
            stems = [f"{sha1[-2:]}/{stem}" for sha1, stem in zip(hashes, stems, strict=True)]
        if self._by_split:
            splits = assets["split"].to_pylist()
            stems = [f"{split or _NO_SPLIT}/{s}" for split, s in zip(splits, stems, strict=True)]
        return stems

    def _original(self, sources: Sequence[str], sha1: str) -> str:
        stem = (_original_stem(sources[0]) if sources else "") or sha1
        # Of several images with one name the first keeps it.
        stem = stem if stem.lower() not in self._given else f"{stem}-{sha1}"
        self._given.add(stem.lower())
        return stem

    def _copy(self, assets: pa.Table, files: Sequence[str], pool: ThreadPoolExecutor) -> list[bool]:
        """Copy the images to their names; which of them there were."""
        assert self._folders.images is not None
        self._make_shelves(self._folders.images, files)
        top = str(self._folders.images)
        hashes = [asset_id.hex() for asset_id in assets["asset_id"].to_pylist()]
        sizes = assets["byte_size"].to_pylist()
        jobs = list(zip(hashes, sizes, files, strict=True))
        chunks = [jobs[start : start + _CHUNK] for start in range(0, len(jobs), _CHUNK)]

        def copy(chunk: list[tuple[str, int, str]]) -> list[bool]:
            return [self._copy_one(sha256, size, f"{top}/{file}") for sha256, size, file in chunk]

        small = self._store.blobs.are_local and sum(sizes) < _SMALL * len(sizes)
        done = map(copy, chunks) if small else pool.map(copy, chunks)
        return [copied for each in done for copied in each]

    def _copy_one(self, sha256: str, size: int, target: str) -> bool:
        try:
            if size > _IN_MEMORY:
                self._store.fetch_blob(sha256, Path(target))
            else:
                write_file(target, self._store.get_blob(sha256))
        except NotFoundError:
            return False
        return True

    def _make_shelves(self, top: Path, files: Iterable[str]) -> None:
        names = {file.rpartition("/")[0] for file in files} - {""}
        shelves = {top / name for name in names} - self._shelves
        for shelf in sorted(shelves):
            shelf.mkdir(parents=True, exist_ok=True)
        self._shelves |= shelves

    def _write_layer(
        self,
        name: str,
        written: AnnotationFiles,
        assets: pa.Table,
        stems: Sequence[str],
        files: Sequence[str],
        pool: ThreadPoolExecutor,
    ) -> None:
        ids = assets["asset_id"].combine_chunks()
        layers = [layer for layer in self._covered if schema.layer_kind(layer) == name]
        covered = np.zeros(len(ids), np.bool_)
        for layer in layers:
            covered |= pc.is_in(ids, self._covered[layer]).to_numpy(zero_copy_only=False)
        chosen = np.flatnonzero(covered)
        if not len(chosen):
            return
        assets = assets.take(pa.array(chosen))
        ids = assets["asset_id"].combine_chunks()
        objects = pa.concat_tables([self._version.layer(layer, ids=ids) for layer in layers])
        owners = pc.index_in(objects["asset_id"], value_set=ids)
        objects, owners = self._wanted(objects, owners)
        order = np.argsort(owners, kind="stable")
        objects = objects.take(pa.array(order)).combine_chunks()
        self._lose(object_losses(objects, owners[order], assets, self._format))
        images = ExportedImages(
            assets=assets,
            file_names=pa.array([files[row] for row in chosen.tolist()], pa.string()),
            objects=objects,
            starts=np.searchsorted(owners[order], np.arange(len(ids) + 1)).astype(np.int64),
            class_names=self._classes.names_of(objects["class_id"]),
        )
        taken = [stems[row] for row in chosen.tolist()]
        if isinstance(written, TextFiles):
            self._make_shelves(written.folder, taken)
        written.write(images, taken, pool)

    def _wanted(
        self, objects: pa.Table, owners: pa.ChunkedArray
    ) -> tuple[pa.Table, np.ndarray[tuple[int], np.dtype[np.int64]]]:
        if self._classes.wanted is not None:
            kept = pc.is_in(objects["class_id"], value_set=self._classes.ids)
            objects, owners = objects.filter(kept), owners.filter(kept)
        return objects, np.asarray(owners.to_numpy(), np.int64)

    def _note_splits(self, assets: pa.Table, stems: Sequence[str]) -> None:
        for stem, split in zip(stems, assets["split"].to_pylist(), strict=True):
            if split:
                self._splits.setdefault(split, []).append(stem)

    def _split_folders(self) -> dict[str, str]:
        """Where each split's images are; trainers want to be told of two."""
        if not self._by_split:
            return {"train": "images", "val": "images"}
        known = {split: f"images/{split}" for split in schema.SPLITS if split in self._splits}
        first = next(iter(known.values()))
        return {"train": first, "val": first} | known

    def _lose(self, losses: dict[str, int]) -> None:
        for what, count in losses.items():
            if count:
                self._lost[what] = self._lost.get(what, 0) + count


def file_names(assets: pa.Table) -> list[str]:
    """The names of images as an export gives them by default."""
    return _with_suffix([sha1.hex() for sha1 in assets["ymir_sha1"].to_pylist()], assets)


def _with_suffix(stems: Sequence[str], assets: pa.Table) -> list[str]:
    kinds = assets["media_type"].to_pylist()
    return [stem + EXTENSIONS[kind] for stem, kind in zip(stems, kinds, strict=True)]


def _original_stem(name: str) -> str:
    """The name that an image came with; a name from outside never chooses the folder."""
    stem = PurePosixPath(name).stem
    safe = is_safe_name(stem) and stem.isprintable() and not stem.startswith(".")
    return stem if safe and len(stem.encode()) <= 150 else ""
