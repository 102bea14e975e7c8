"""A small store to look at, with names as hostile as they come."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
from PIL import Image

from mir_ops.console.sources import Sources
from mir_ops.store import Commit, Operation, Store
from mir_ops.store.schema import ASSETS, GROUND_TRUTH, PREDICTIONS, SCORES
from mir_ops.taxonomy import ClassName, Taxonomy

HOSTILE = '"><script>alert(1)</script>'


@dataclass(frozen=True)
class Shown:
    """A store with a project `digits` of one version, and what is in it."""

    store: Store
    commit: Commit
    asset_ids: list[bytes]
    other: Commit
    other_ids: list[bytes]

    @property
    def sources(self) -> Sources:
        return Sources(self.store)

    @property
    def page(self) -> str:
        return f"/projects/digits/versions/{self.commit.id}"

    @property
    def images(self) -> str:
        return f"{self.page}/images"

    def hex(self, index: int) -> str:
        return self.asset_ids[index].hex()


class Client:
    """Asks an ASGI app without a socket."""

    def __init__(self, app: Any, *, root_path: str = "") -> None:
        self.app = app
        self.root_path = root_path

    def get(
        self,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app, root_path=self.root_path)
            async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
                return await client.get(path, params=params, headers=headers)

        return asyncio.run(ask())


def write_shown(folder: Path) -> Shown:
    """Images 0–59: 0–39 train, 40–49 val, 50–59 of no split; the last ten are not labelled.

    Class `cat` is on each labelled image, `dog` on each fifth, `bird` is only ever predicted.
    """
    store = Store.open((folder / "store").as_uri(), create=True)
    contents = [_png(index) for index in range(60)]
    commit, ids = write_version(store, "digits/training", "digits", contents)
    other, other_ids = write_version(store, "secret/training", "secret", [_png(1000)])
    return Shown(store, commit, ids, other, other_ids)


def write_version(
    store: Store,
    branch: str,
    project: str | None,
    contents: Sequence[bytes],
    *,
    media_type: str = "image/png",
) -> tuple[Commit, list[bytes]]:
    store.put_blobs(contents)
    known = store.register_classes(["cat", "dog", "bird", HOSTILE])
    ids = [hashlib.sha256(content).digest() for content in contents]
    labelled = ids[: max(1, len(ids) - 10)]
    with store.edit(
        branch,
        op_id=hashlib.sha256(branch.encode()).hexdigest(),
        operation=Operation(kind="import"),
        message=f"Import {HOSTILE}",
        project=project,
    ) as edit:
        edit.put_taxonomy(Taxonomy(tuple(ClassName(id_, name) for name, id_ in known.items())))
        edit.put_assets(_assets(ids, contents, media_type))
        edit.put_layer(
            "ground_truth", _truths(labelled, known), assets=pa.array(labelled, pa.binary(32))
        )
        edit.put_layer("predictions:0123456789abcdef", _predictions(ids, known["bird"]))
        edit.put_layer("scores:entropy", _scores(ids))
    return edit.commit, ids


def _png(seed: int, *, width: int = 96, height: int = 96) -> bytes:
    rng = np.random.default_rng(seed)
    colour = rng.integers(40, 200, 3)
    pixels = np.clip(rng.normal(colour, 12, (height, width, 3)), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _assets(
    ids: Sequence[bytes], contents: Sequence[bytes], media_type: str = "image/png"
) -> pa.Table:
    def split(index: int) -> str | None:
        return "train" if index < 40 else "val" if index < 50 else None

    rows = [
        {
            "asset_id": asset_id,
            "media_type": media_type,
            "width": 96,
            "height": 96,
            "channels": 3,
            "byte_size": len(content),
            "orientation": 1,
            "source_names": [f"{HOSTILE}{index}.png"],
            "split": split(index),
            "added_at": datetime(2026, 1, 1, tzinfo=UTC),
            "ymir_sha1": hashlib.sha1(content, usedforsecurity=False).digest(),
        }
        for index, (asset_id, content) in enumerate(zip(ids, contents, strict=True))
    ]
    return pa.Table.from_pylist(rows, schema=ASSETS)


def _box(asset_id: bytes, number: int, class_id: int, x: float) -> dict[str, object]:
    return {
        "asset_id": asset_id,
        "annotation_id": number,
        "class_id": class_id,
        "kind": "box",
        "x": x,
        "y": 20.0,
        "w": 30.0,
        "h": 40.0,
    }


def _truths(ids: Sequence[bytes], known: dict[str, int]) -> pa.Table:
    rows = []
    for index, asset_id in enumerate(ids):
        rows.append(_box(asset_id, 1, known["cat"], 10.0))
        if index % 5 == 0:
            rows.append(_box(asset_id, 2, known["dog"], 50.0))
        if index == 7:
            rows.append(_box(asset_id, 3, known[HOSTILE], 30.0))
    return pa.Table.from_pylist(rows, schema=GROUND_TRUTH)


def _predictions(ids: Sequence[bytes], bird: int) -> pa.Table:
    rows = [
        {**_box(asset_id, 1, bird, 12.0), "confidence": 0.9 if index % 2 else 0.1}
        for index, asset_id in enumerate(ids)
    ]
    return pa.Table.from_pylist(rows, schema=PREDICTIONS)


def _scores(ids: Sequence[bytes]) -> pa.Table:
    rows = [
        {
            "asset_id": asset_id,
            "score": 1 / (1 + index),
            "rank": index if index < 5 else None,
            "reason": f"entropy {HOSTILE}",
        }
        for index, asset_id in enumerate(ids)
    ]
    return pa.Table.from_pylist(rows, schema=SCORES)
