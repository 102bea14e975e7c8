"""The images of a job: hard links to the cache, and upright copies of turned ones."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image, ImageOps

from mir_ops.errors import InvalidInputError, StoreError
from mir_ops.executor.cache import AssetCache, Wanted
from mir_ops.executor.jobs import Job

if TYPE_CHECKING:
    from mir_ops.store import Store

_EXTENSIONS: Final = {"image/jpeg": "jpg", "image/png": "png", "image/bmp": "bmp"}
_SPARE_BYTES: Final = 64 << 20


def check_space(job: Job, assets: pa.Table) -> None:
    """Refuse to start what the disk cannot hold."""
    needed = int(pc.sum(assets["byte_size"]).as_py() or 0) + _SPARE_BYTES
    free = shutil.disk_usage(job.folder).free
    if free < needed:
        raise StoreError(
            f"No space for the job: `{job.folder}` has {free} bytes free, {needed} are needed",
            code="no-space",
            hint="Remove old jobs, or set `work_dir` to a larger disk",
        )


def place_assets(store: Store, job: Job, assets: pa.Table, *, cache: AssetCache) -> list[str]:
    """Put each asset under `in/assets`; returns the paths that the executor sees, in order."""
    names = asset_names(assets)
    folder = job.inputs / "assets"
    for shelf in {name[:2] for name in names}:
        (folder / shelf).mkdir(exist_ok=True)
    ids = [asset_id.hex() for asset_id in assets["asset_id"].to_pylist()]
    targets = [f"{folder}/{name}" for name in names]
    wanted = map(Wanted, ids, assets["byte_size"].to_pylist(), targets)
    cache.link_all(store, list(wanted))
    for number in np.flatnonzero(assets["orientation"].to_numpy() > 1):
        _turn_upright(targets[number])
    return [f"/in/assets/{name}" for name in names]


def asset_names(assets: pa.Table) -> list[str]:
    """`<last two digits>/<sha1>.<extension>`, as the contract has it."""
    digests = [digest.hex() for digest in assets["ymir_sha1"].to_pylist()]
    if len(set(digests)) != len(digests):
        raise InvalidInputError(
            "Two different images share one SHA-1, by which executors know them",
            code="sha1-collision",
            hint="Remove one of them from the dataset",
        )
    kinds = assets["media_type"].to_pylist()
    return [
        f"{digest[-2:]}/{digest}.{_EXTENSIONS.get(kind, 'jpg')}"
        for digest, kind in zip(digests, kinds, strict=True)
    ]


def write_candidates(job: Job, assets: pa.Table) -> None:
    """Keep what the results will be checked against, outside the executor's reach."""
    names = [name[3:] for name in asset_names(assets)]
    table = assets.select(["asset_id", "width", "height"]).append_column("name", pa.array(names))
    pq.write_table(table, job.candidates_path)


def _turn_upright(path: str) -> None:
    """Annotations are in displayed pixels; executors that ignore EXIF must see the same."""
    with Image.open(path) as image:
        kind = image.format
        upright = ImageOps.exif_transpose(image)
    assert upright is not None
    os.unlink(path)  # or the cache would have it upright too
    upright.save(path, format=kind, **({"quality": 95} if kind == "JPEG" else {}))
