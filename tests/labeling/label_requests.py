"""Three small images, and the request to label them."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
from PIL import Image

from mir_ops.labeling import LabelRequest
from mir_ops.store.schema import ASSETS, PREDICTIONS

WIDTH, HEIGHT = 40, 30
IMAGES: dict[str, bytes] = {}
for shade in (10, 20, 30):
    buffer = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT), (shade, 0, 0)).save(buffer, "PNG")
    IMAGES[sha256(buffer.getvalue()).hexdigest()] = buffer.getvalue()
FIRST, SECOND, THIRD = sorted(IMAGES)


def assets_of(*names: str, orientation: int = 1) -> pa.Table:
    rows = [
        {
            "asset_id": bytes.fromhex(name),
            "media_type": "image/png",
            "width": WIDTH,
            "height": HEIGHT,
            "channels": 3,
            "byte_size": len(IMAGES[name]),
            "orientation": orientation,
            "source_names": [f"{name[:4]}.png"],
            "added_at": datetime(2026, 1, 1, tzinfo=UTC),
            "ymir_sha1": b"\0" * 20,
        }
        for name in names
    ]
    return pa.Table.from_pylist(rows, schema=ASSETS)


def boxes(schema: pa.Schema, *found: tuple[str, int, float, float, float, float]) -> pa.Table:
    rows = [
        {
            "asset_id": bytes.fromhex(name), "annotation_id": number, "class_id": class_id,
            "kind": "box", "x": x, "y": y, "w": w, "h": h, "confidence": 0.5,
        }
        for number, (name, class_id, x, y, w, h) in enumerate(found)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=schema)


def small_request() -> LabelRequest:
    def fetch_image(name: str, destination: Path) -> None:
        destination.write_bytes(IMAGES[name])

    return LabelRequest(
        key="ab" * 32,
        title="Digits, round 1",
        classes={7: "one", 3: "two"},
        assets=assets_of(FIRST, SECOND, THIRD),
        predictions=boxes(PREDICTIONS, (FIRST, 3, 1, 2, 10, 8)),
        fetch_image=fetch_image,
    )
