"""Write a dataset version to a folder: copies of the images, and a VOC file for each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Literal

import pyarrow as pa

from mir_ops.dataset.conditions import class_ids_of
from mir_ops.dataset.report import Report, Tally
from mir_ops.errors import ConflictError, NotFoundError
from mir_ops.formats.archive import is_safe_name
from mir_ops.formats.images import EXTENSIONS
from mir_ops.formats.voc import VocFile, VocObject, write_voc
from mir_ops.store import schema

if TYPE_CHECKING:
    from mir_ops.store import Store, Version

Names = Literal["sha1", "original"]
INDEX: Final = "index.tsv"
_BATCH: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFolders:
    """Where the parts go; None: this part is not written."""

    images: Path | None = None
    ground_truth: Path | None = None
    predictions: Path | None = None

    def named(self) -> dict[str, Path]:
        named = {
            "images": self.images,
            "ground_truth": self.ground_truth,
            "predictions": self.predictions,
        }
        return {name: folder for name, folder in named.items() if folder is not None}


def export_voc(
    store: Store,
    rev: str,
    directory: Path | ExportFolders,
    *,
    names: Names = "sha1",
    sub_folders: bool = False,
    class_names: Sequence[str] = (),
    on_progress: Callable[[float, str], None] = lambda _share, _message: None,
) -> Report:
    """Write images and annotations, named `<sha1>.<ext>` as in YMIR or as they came.

    A `directory` gets `images/` and `annotations/`. An image that nobody looked at gets no
    annotation file and one without objects an empty one, so importing the folder again gives the
    same dataset. `index.tsv` in each folder lists its files.
    """
    if isinstance(directory, Path):
        directory = ExportFolders(
            images=directory / "images", ground_truth=directory / "annotations"
        )
    version = store.read(rev)
    wanted = class_ids_of(version.taxonomy, class_names) if class_names else None
    export = _Export(store, version, directory, names, sub_folders, wanted)
    export.make_folders()
    ids = version.asset_ids()
    with ThreadPoolExecutor(4) as pool:
        for start in range(0, len(ids), _BATCH):
            chosen = ids.slice(start, _BATCH)
            export.write(chosen, pool)
            done = start + len(chosen)
            on_progress(done / len(ids), f"images {done}/{len(ids)}")
    export.write_indexes()
    return export.tally.report({name: len(paths) for name, paths in export.written.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asset:
    """One image on its way out: its row, and its name without the suffix."""

    row: Mapping[str, Any]
    stem: str

    @property
    def file_name(self) -> str:
        return self.stem + EXTENSIONS[self.row["media_type"]]


class _Export:
    def __init__(
        self,
        store: Store,
        version: Version,
        folders: ExportFolders,
        names: Names,
        sub_folders: bool,
        wanted: list[int] | None,
    ) -> None:
        self.tally = Tally()
        self.written: dict[str, list[Path]] = {name: [] for name in folders.named()}
        self._store = store
        self._version = version
        self._folders = folders
        self._names = names
        self._sub_folders = sub_folders
        self._wanted = wanted
        self._given: set[str] = set()
        self._covered = {
            layer: set(version.layer_assets(layer).to_pylist())
            for layer in version.layers()
            if schema.layer_kind(layer) in self.written
        }

    def make_folders(self) -> None:
        folders = self._folders.named().values()
        for folder in folders:
            if folder.exists() and any(folder.iterdir()):
                raise ConflictError(
                    f"The folder `{folder}` is not empty",
                    code="folder-not-empty",
                    hint="Choose another folder: an export never mixes with other files",
                )
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)

    def write(self, ids: pa.Array, pool: ThreadPoolExecutor) -> None:
        rows = self._version.assets(ids=ids).to_pylist()
        assets = [_Asset(row=row, stem=self._stem(row)) for row in rows]
        if self._folders.images is not None:
            copied = list(pool.map(self._copy, assets))
            lost = [a for a, ok in zip(assets, copied, strict=True) if not ok]
            assets = [a for a, ok in zip(assets, copied, strict=True) if ok]
            self.tally.add_all("image-missing", (a.row["asset_id"].hex() for a in lost))
            self.written["images"] += [self._folders.images / a.file_name for a in assets]
        for name, folder in self._folders.named().items():
            if name != "images":
                self._write_annotations(name, folder, assets, ids)

    def write_indexes(self) -> None:
        for name, folder in self._folders.named().items():
            lines = "".join(f"{path.absolute()}\n" for path in self.written[name])
            (folder / INDEX).write_text(lines, encoding="utf-8")

    def _stem(self, row: Mapping[str, Any]) -> str:
        sha1: str = row["ymir_sha1"].hex()
        stem = sha1
        if self._names == "original" and row["source_names"]:
            # Of several images with one name the first keeps it.
            stem = _original_stem(row["source_names"][0]) or sha1
            stem = stem if stem.lower() not in self._given else f"{stem}-{sha1}"
            self._given.add(stem.lower())
        return f"{sha1[-2:]}/{stem}" if self._sub_folders else stem

    def _copy(self, asset: _Asset) -> bool:
        assert self._folders.images is not None
        target = self._folders.images / asset.file_name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._store.fetch_blob(asset.row["asset_id"].hex(), target)
        except NotFoundError:
            return False
        return True

    def _write_annotations(
        self, name: str, folder: Path, assets: Iterable[_Asset], ids: pa.Array
    ) -> None:
        objects: dict[bytes, list[VocObject]] = {}
        for layer, covered in self._covered.items():
            if schema.layer_kind(layer) != name:
                continue
            objects |= {i: objects.get(i, []) for i in ids.to_pylist() if i in covered}
            for row in self._version.layer(layer, ids=ids).to_pylist():
                if self._wanted is None or row["class_id"] in self._wanted:
                    objects[row["asset_id"]].append(self._object(row))
        for asset in assets:
            if (found := objects.get(asset.row["asset_id"])) is None:
                continue
            path = folder / f"{asset.stem}.xml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(write_voc(_voc_file(asset, found)))
            self.written[name].append(path)

    def _object(self, row: Mapping[str, Any]) -> VocObject:
        return VocObject(
            name=self._version.taxonomy.name_of(row["class_id"]),
            box=(row["x"], row["y"], row["w"], row["h"]),
            angle=row["angle"],
            confidence=row.get("confidence"),
            quality=row["quality"],
            difficult=row["difficult"],
            truncated=row["truncated"],
            occluded=row["occluded"],
            tags=dict(row["tags"] or ()),
        )


def _original_stem(name: str) -> str:
    """The name that an image came with; a name from outside never chooses the folder."""
    stem = PurePosixPath(name).stem
    safe = is_safe_name(stem) and stem.isprintable() and not stem.startswith(".")
    return stem if safe and len(stem.encode()) <= 150 else ""


def _voc_file(asset: _Asset, objects: Sequence[VocObject]) -> VocFile:
    row = asset.row
    return VocFile(
        filename=PurePosixPath(asset.file_name).name,
        size=(row["width"], row["height"]),
        channels=row["channels"],
        objects=tuple(objects),
        attributes=dict(row["attributes"] or ()),
    )
