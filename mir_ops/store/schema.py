"""The tables of a dataset version: every column of every table, in one place.

Coordinates are pixels of the displayed image (EXIF orientation applied), origin at the top left
corner, as x, y, w, h. Angles are degrees, clockwise, about the box's centre. Times are UTC.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

ASSET_ID: Final = pa.binary(32)  # SHA-256 of the image's bytes
TEXT_MAP: Final = pa.map_(pa.string(), pa.string())
TIME: Final = pa.timestamp("us", tz="UTC")

SPLITS: Final = ("train", "val", "test")  # null: not assigned

ASSETS: Final = pa.schema(
    [
        pa.field("asset_id", ASSET_ID, nullable=False),
        pa.field("media_type", pa.string(), nullable=False),  # image/jpeg, image/png, image/bmp
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("channels", pa.int8(), nullable=False),
        pa.field("byte_size", pa.int64(), nullable=False),
        pa.field("orientation", pa.int8(), nullable=False),  # EXIF 1..8; the bytes stay untouched
        pa.field("source_names", pa.list_(pa.string()), nullable=False),
        pa.field("split", pa.string()),
        pa.field("attributes", TEXT_MAP),
        pa.field("added_at", TIME, nullable=False),
        pa.field("ymir_sha1", pa.binary(20), nullable=False),
        pa.field("perceptual_hash", pa.uint64()),
        pa.field("group_id", pa.string()),
        pa.field("parent_id", ASSET_ID),
        pa.field("frame_index", pa.int64()),
        pa.field("capture_time", TIME),
    ]
)

KINDS: Final = ("box", "rotated_box", "polygon", "mask")

_ANNOTATION_FIELDS: Final = [
    pa.field("asset_id", ASSET_ID, nullable=False),
    pa.field("annotation_id", pa.uint64(), nullable=False),  # unique per layer and asset
    pa.field("class_id", pa.int32(), nullable=False),
    pa.field("kind", pa.string(), nullable=False),
    pa.field("x", pa.float32(), nullable=False),
    pa.field("y", pa.float32(), nullable=False),
    pa.field("w", pa.float32(), nullable=False),
    pa.field("h", pa.float32(), nullable=False),
    pa.field("angle", pa.float32()),
    pa.field("polygon", pa.list_(pa.list_(pa.float32()))),  # rings of x, y, x, y, ...
    pa.field("rle", pa.binary()),  # COCO compressed run lengths, size = the asset's height, width
    pa.field("area", pa.float32()),
    pa.field("iscrowd", pa.bool_()),
    pa.field("difficult", pa.bool_()),
    pa.field("truncated", pa.bool_()),
    pa.field("occluded", pa.bool_()),
    pa.field("quality", pa.float32()),
    pa.field("tags", TEXT_MAP),
    pa.field("annotator", pa.string()),
    pa.field("lead_time", pa.float32()),  # seconds
]

GROUND_TRUTH: Final = pa.schema(_ANNOTATION_FIELDS)

PREDICTIONS: Final = pa.schema(
    [
        *_ANNOTATION_FIELDS,
        pa.field("confidence", pa.float32(), nullable=False),
        pa.field("class_probs", pa.map_(pa.int32(), pa.float32())),  # sparse: class id to share
    ]
)

SCORES: Final = pa.schema(
    [
        pa.field("asset_id", ASSET_ID, nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("rank", pa.int64()),  # 0 is picked first; null: scored but not picked
        pa.field("components", pa.map_(pa.string(), pa.float64())),
        pa.field("reason", pa.string()),
        pa.field("nearest", ASSET_ID),  # the labelled image that looks most like it
    ]
)


def embeddings(size: int) -> pa.Schema:
    """One vector of `size` float32 per asset."""
    return pa.schema(
        [
            pa.field("asset_id", ASSET_ID, nullable=False),
            pa.field("vector", pa.list_(pa.float32(), size), nullable=False),
        ]
    )


def layer_kind(layer: str) -> str:
    """`predictions:model-1` is of kind `predictions`; `ground_truth` is its own."""
    return layer.split(":", 1)[0]
