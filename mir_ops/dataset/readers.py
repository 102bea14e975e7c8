"""Dataset versions in notebooks: as pandas frames, for torch, in FiftyOne.

None of these libraries is needed for anything else; where one is missing the error says so.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.dataset.exporting import ExportFolders, export_dataset, file_names
from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.formats import rle
from mir_ops.store import Store, Version

if TYPE_CHECKING:
    import pandas as pd

GROUND_TRUTH: Final = "ground_truth"
_BOX: Final = ("x", "y", "w", "h")
Transform = Callable[[Any, dict[str, Any]], Any]


def to_pandas(version: Version, layer: str = GROUND_TRUTH) -> pd.DataFrame:
    """One row per object of a layer, with its class's name and its image's size, split and name.

    `layer="assets"` gives one row per image. Ids are hexadecimal texts, boxes pixels.
    """
    _library("pandas", "to_pandas", "pip install pandas")
    if layer == "assets":
        return _frame(version.assets())
    _check_layer(version, layer)
    table = version.layer(layer)
    assets = version.assets(["asset_id", "width", "height", "split", "source_names"])
    rows = pc.index_in(table["asset_id"], value_set=assets["asset_id"].combine_chunks())
    if "class_id" in table.column_names:
        table = table.add_column(2, "class_name", _class_names(version, table["class_id"]))
    for name in ("width", "height", "split"):
        table = table.append_column(name, assets[name].take(rows))
    return _frame(table)


def to_torch(
    store: Store, rev: str, layer: str = GROUND_TRUTH, *, transform: Transform | None = None
) -> TorchImages:
    """The images that a layer covers, for a `torch.utils.data.DataLoader`.

    `transform(image, target)` makes the item; by default it is the pair of both.
    """
    _library("torch", "to_torch", "pip install 'mir-ops[detector]'")
    return TorchImages(store, rev, layer, transform)


def to_fiftyone(
    store: Store, rev: str, folder: Path, *, name: str | None = None, persistent: bool = False
) -> Any:
    """A `fiftyone.Dataset` with a field for each layer; the images are copied to `folder`.

    Boxes and masks become detections, polygons polylines. Splits are tags of the samples.
    """
    fo = _library("fiftyone", "to_fiftyone", "pip install fiftyone")
    export_dataset(store, rev, ExportFolders(images=folder), annotations="none")
    version = store.read(rev)
    assets = version.assets()
    samples = [
        fo.Sample(filepath=str(folder / file), tags=[split] if split else [], mir_id=asset.hex())
        for file, split, asset in zip(
            file_names(assets),
            assets["split"].to_pylist(),
            assets["asset_id"].to_pylist(),
            strict=True,
        )
    ]
    for layer in version.layers():
        if layer.partition(":")[0] in (GROUND_TRUTH, "predictions"):
            _add_field(fo, samples, version, assets, layer)
    dataset = fo.Dataset(name or None, persistent=persistent)
    dataset.add_samples(samples)
    return dataset


class TorchImages:
    """A map-style dataset. Images are read and decoded when asked for, in each worker process.

    An item is the image, uint8 of shape (3, height, width), upright, and its target in
    torchvision's words: `boxes` (n, 4) float32 as x1, y1, x2, y2 in pixels, `labels` (n) int64,
    `area`, `iscrowd`, `image_id` and, of predictions, `scores`. Label 0 is the background, 1 the
    first class of the taxonomy; `class_names` has them in this order.
    """

    def __init__(self, store: Store, rev: str, layer: str, transform: Transform | None) -> None:
        version = store.read(rev)
        _check_layer(version, layer)
        taxonomy = version.taxonomy
        self.class_names = ("background", *taxonomy.names)
        self._transform = transform
        self._store: Store | None = store
        self._url, self._process = store.url, os.getpid()
        self._ids = version.layer_assets(layer)
        table = version.layer(layer)
        owners = pc.index_in(table["asset_id"], value_set=self._ids).to_numpy()
        self._starts = np.searchsorted(owners, np.arange(len(self._ids) + 1))
        labels = pc.index_in(table["class_id"], value_set=pa.array(taxonomy.ids, pa.int32()))
        x, y, w, h = (table[side].to_numpy() for side in _BOX)
        self._columns: dict[str, npt.NDArray[Any]] = {
            "boxes": np.stack([x, y, x + w, y + h], axis=1).astype(np.float32),
            "labels": pc.fill_null(labels, -1).to_numpy().astype(np.int64) + 1,
            "area": pc.coalesce(table["area"], pa.array(w * h)).to_numpy().astype(np.float32),
            "iscrowd": pc.fill_null(table["iscrowd"], False).to_numpy().astype(np.int64),
        }
        if "confidence" in table.column_names:
            self._columns["scores"] = table["confidence"].to_numpy().astype(np.float32)

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, number: int) -> Any:
        import torch

        if not -len(self) <= number < len(self):
            raise IndexError(number)  # what a loop over a sequence ends with
        number %= len(self)
        rows = slice(self._starts[number], self._starts[number + 1])
        target = {
            name: torch.from_numpy(column[rows].copy()) for name, column in self._columns.items()
        }
        target["image_id"] = torch.tensor([number])
        image = torch.from_numpy(self._pixels(self._ids[number].as_py().hex()))
        return self._transform(image, target) if self._transform else (image, target)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_store": None}

    def _pixels(self, sha256: str) -> npt.NDArray[np.uint8]:
        from PIL import Image, ImageOps

        with Image.open(io.BytesIO(self._store_here().get_blob(sha256))) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
        return np.ascontiguousarray(np.asarray(upright).transpose(2, 0, 1))

    def _store_here(self) -> Store:
        """Another process opens the store anew: connections cannot be shared."""
        here = self._process == os.getpid() or self._url.startswith("memory:")
        if self._store is None or not here:
            self._store, self._process = Store.open(self._url), os.getpid()
        return self._store


def _library(name: str, function: str, install: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise InvalidInputError(
            f"`{function}` needs the library `{name}`: {error}",
            code="library-missing",
            hint=f"Install it with `{install}`",
        ) from None


def _check_layer(version: Version, layer: str) -> None:
    if layer not in version.layers():
        raise NotFoundError(
            f"Version {version.id[:12]} has no layer `{layer}`",
            code="no-such-layer",
            hint=f"It has {', '.join(version.layers()) or 'none'}",
        )


def _class_names(version: Version, class_ids: pa.ChunkedArray) -> pa.Array:
    taxonomy = version.taxonomy
    rows = pc.index_in(class_ids, value_set=pa.array(taxonomy.ids, pa.int32()))
    return pa.array(taxonomy.names, pa.string()).take(rows)


def _frame(table: pa.Table) -> pd.DataFrame:
    frame = table.to_pandas(maps_as_pydicts="lossy")
    for name in ("asset_id", "ymir_sha1", "parent_id"):
        if name in frame.columns:
            frame[name] = [None if value is None else value.hex() for value in frame[name]]
    return frame


def _add_field(fo: Any, samples: list[Any], version: Version, assets: pa.Table, layer: str) -> None:
    """A field of detections, and one of polylines if the layer has polygons."""
    field = layer.replace(":", "_").replace("-", "_").replace("/", "_")
    table = version.layer(layer)
    names = _class_names(version, table["class_id"]).to_pylist()
    owners = pc.index_in(table["asset_id"], value_set=assets["asset_id"].combine_chunks())
    sizes = list(zip(assets["width"].to_pylist(), assets["height"].to_pylist(), strict=True))
    detections: dict[int, list[Any]] = {}
    polylines: dict[int, list[Any]] = {}
    for row, name, owner in zip(table.to_pylist(), names, owners.to_pylist(), strict=True):
        width, height = sizes[owner]
        known = {k: row[k] for k in ("confidence", "iscrowd") if row.get(k) is not None}
        if row["polygon"]:
            points = [
                [(x / width, y / height) for x, y in zip(ring[::2], ring[1::2], strict=True)]
                for ring in row["polygon"]
            ]
            line = fo.Polyline(label=name, points=points, closed=True, filled=True, **known)
            polylines.setdefault(owner, []).append(line)
            continue
        if row["rle"]:
            known["mask"] = _cut_mask(row, width, height)
        box = [row["x"] / width, row["y"] / height, row["w"] / width, row["h"] / height]
        detection = fo.Detection(label=name, bounding_box=box, **known)
        detections.setdefault(owner, []).append(detection)
    for number, sample in enumerate(samples):
        sample[field] = fo.Detections(detections=detections.get(number, []))
        if polylines:
            sample[f"{field}_polygons"] = fo.Polylines(polylines=polylines.get(number, []))


def _cut_mask(row: dict[str, Any], width: int, height: int) -> npt.NDArray[np.bool_]:
    """The part of a mask that lies in its box."""
    runs, _ = rle.read_runs(pa.array([row["rle"]], pa.binary()))
    bitmap = rle.to_bitmap(runs.of(0), width, height)
    left, top = int(row["x"]), int(row["y"])
    return bitmap[top : int(np.ceil(row["y"] + row["h"])), left : int(np.ceil(row["x"] + row["w"]))]
