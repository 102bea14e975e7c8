"""A pool of as many small images as one wants, and the project that mines in it."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from PIL import Image
from store_data import asset_rows, constant

from mir_ops.catalog import apply_project
from mir_ops.formats.voc import VocFile, VocObject, write_voc
from mir_ops.store import Operation, Store, schema
from mir_ops.taxonomy import Taxonomy
from mir_ops.workspace import Workspace

CLASSES: Final = ("disc", "square")
SIDE: Final = 32
SHELF: Final = 1000  # images in a folder
LABELLED: Final = {"training": 12, "validation": 6}
BUDGET: Final = 100
TRUTH: Final = "truth"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Where everything is: folders below `root`, and the workspace."""

    root: Path
    workspace: Workspace

    @property
    def oracle(self) -> str:
        return (self.root / "oracle").as_uri()

    def connections(self) -> dict[str, dict[str, Any]]:
        """Airflow's."""
        ws = self.workspace
        extra = {
            "store_url": ws.store_url,
            "catalog_url": ws.catalog_url,
            "work_dir": str(ws.work_dir),
            "deployment": ws.deployment,
        }
        return {
            "mir_default": {
                "conn_type": "mir",
                "login": ws.access_key,
                "password": ws.secret_key,
                "extra": extra,
            },
            "mir_labels": {
                "conn_type": "mir_labels",
                "extra": {"store_url": self.oracle, "rev": TRUTH},
            },
        }

    def make_project(self, name: str, images: int, shard_size: int, seed: int) -> None:
        """Write the images, tell the oracle what is on them, apply the project."""
        folder = self.root / name
        sources = {"pool": str(folder / "pool")}
        ids = write_pool(folder / "pool", images, seed)
        for number, (part, count) in enumerate(LABELLED.items()):
            sources[part] = str(folder / part)
            write_labelled(folder / part, count, f"{seed}/{number}")
        fill_oracle(Store.open(self.oracle, create=True), ids, name)
        mapping = {
            "name": name,
            "classes": list(CLASSES),
            "sources": sources,
            "executor": {"name": "sample"},
            "mining": {
                "strategy": "entropy",
                "budget": BUDGET,
                "exclude": "none",  # a second round looks at the same images
                "shard_size": shard_size,
            },
            "labels": {"backend": "oracle", "poll_seconds": 1},
        }
        apply_project(self.workspace.catalog, mapping)


def write_pool(folder: Path, images: int, seed: int) -> list[bytes]:
    """Small JPEG files, which differ in a comment; returns their SHA-256."""
    ids = []
    for shelf in range(-(-images // SHELF)):
        place = folder / f"images/{shelf:04}"
        place.mkdir(parents=True)
        scene = _jpeg(shelf)
        for number in range(shelf * SHELF, min(images, (shelf + 1) * SHELF)):
            data = _with_comment(scene, f"{seed}/{number}")
            (place / f"{number:07}.jpg").write_bytes(data)
            ids.append(hashlib.sha256(data).digest())
    return ids


def write_labelled(folder: Path, count: int, salt: str) -> None:
    """Images with a box each."""
    for name in ("images", "annotations"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        (folder / f"images/{number}.jpg").write_bytes(_with_comment(_jpeg(0), f"{salt}-{number}"))
        box = VocObject(name=CLASSES[number % 2], box=(4.0, 4.0, 12.0, 12.0))
        file = VocFile(filename=str(number), size=(SIDE, SIDE), objects=(box,))
        (folder / f"annotations/{number}.xml").write_bytes(write_voc(file))


def fill_oracle(store: Store, ids: list[bytes], name: str) -> None:
    """One box on every image: rows alone, the oracle shows nobody an image."""
    asset_ids, count = pa.array(sorted(ids), schema.ASSET_ID), len(ids)
    known = store.register_classes(CLASSES)
    boxes = {
        "asset_id": asset_ids,
        "annotation_id": pa.array(np.zeros(count, np.uint64)),
        "class_id": pa.array(np.full(count, known[CLASSES[0]], np.int32)),
        "kind": constant("box", count),
        **{side: pa.array(np.full(count, 8, np.float32)) for side in "xywh"},
    }
    with store.edit(
        TRUTH, op_id=f"truth-{name}", operation=Operation(kind="truth"), message="Truth"
    ) as edit:
        edit.put_taxonomy(Taxonomy.from_names(known))
        edit.put_assets(asset_rows(asset_ids))
        edit.put_layer("ground_truth", pa.table(boxes))


def _jpeg(seed: int) -> bytes:
    """A blot."""
    dice = np.random.default_rng(seed)
    pixels = np.full((SIDE, SIDE, 3), dice.integers(0, 90, 3), np.uint8)
    x, y = dice.integers(0, SIDE - 12, 2)
    pixels[y : y + 12, x : x + 12] = dice.integers(120, 255, 3)
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "JPEG", quality=60)
    return written.getvalue()


def _with_comment(jpeg: bytes, text: str) -> bytes:
    comment = text.encode()
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]
