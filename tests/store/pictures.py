"""Small real images, stored and committed, for tests that look at blobs."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence

import pyarrow as pa
from PIL import Image
from sample_tables import OPERATION, asset_rows, box_rows

from mir_ops.store import Commit, Store


def picture(number: int) -> bytes:
    stream = io.BytesIO()
    colour = (number % 256, number // 256 % 256, number // 65536 % 256)
    Image.new("RGB", (4, 4), colour).save(stream, "PNG")
    return stream.getvalue()


def ids_of(pictures: Sequence[bytes]) -> pa.Array:
    return pa.array(sorted(hashlib.sha256(one).digest() for one in pictures), pa.binary(32))


def commit_pictures(
    store: Store, branch: str, numbers: Sequence[int], *, op_id: str | None = None
) -> Commit:
    """Store some images and add them to a branch, with a box each."""
    bodies = [picture(number) for number in numbers]
    store.put_blobs(bodies)
    ids = ids_of(bodies)
    op_id = op_id or f"pictures-{branch}-{'-'.join(map(str, numbers))}"
    with store.edit(branch, op_id=op_id, operation=OPERATION, message="Add pictures") as edit:
        edit.put_assets(asset_rows(ids))
        edit.put_layer("ground_truth", box_rows(ids), assets=ids)
    return edit.commit
