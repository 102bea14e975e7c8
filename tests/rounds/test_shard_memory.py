"""What looks at a shard of a pool takes as much memory as the shard wants, whatever the pool."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from round_data import House, Run
from test_sharded_mining import BEFORE

from mir_ops.executor import run_job
from mir_ops.rounds import steps
from mir_ops.rounds.steps import Place
from mir_ops.store import Operation
from mir_ops.store.schema import ASSET_ID
from mir_ops.workspace import Workspace

FEW, MANY = 100_000, 600_000  # both of more rows than one segment of a version has
SHARD = 300
CACHED = 10  # of so many images of the pool one is in the host's cache
ROOM = 8.0  # MiB; the ids of the larger pool alone take more than twice as much


def test_a_shard_of_a_large_pool_takes_no_more_memory(tmp_path: Path) -> None:
    few, many = (_peak_of_a_shard(tmp_path / str(count), count) for count in (FEW, MANY))

    assert many < few + ROOM, f"{few:.1f} MiB of {FEW} images, {many:.1f} MiB of {MANY}"


def _peak_of_a_shard(root: Path, count: int) -> float:
    """MiB, in a process that does nothing else."""
    mining = {"strategy": "entropy", "budget": 4, "shard_size": SHARD}
    run = Run(House(root, {"mining": mining}, pool=2 * SHARD), "run")
    run.all(BEFORE)
    _grow_pool(run, count)
    _grow_cache(run.ws.cache_dir, count // CACHED)
    steps.plan_shards(run.ws, run.place("plan_shards"), run.round_id)
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(look_at_first_shard, (replace(run.ws), run.place("shard"), run.round_id))


def _grow_pool(run: Run, count: int) -> None:
    """Add so many rows of images to the pool; none comes before those of the first shard."""
    book = run.ws.catalog.steps
    imported = dict(book.result(run.round_id, "import_data"))
    version = run.ws.store.read(imported["pool"])
    ids = np.random.default_rng(0).integers(0, 256, (count, 32), np.uint8)
    low = version.asset_ids()[SHARD].as_py()[0] + 1
    ids[:, 0] = low + ids[:, 0] % (256 - low)
    rows = version.assets().slice(0, 1).take(pa.array(np.zeros(count, np.int64)))
    asset_ids = pa.Array.from_buffers(ASSET_ID, count, [None, pa.py_buffer(ids.tobytes())])
    operation = Operation(kind="import")
    with run.ws.store.edit(
        "large", op_id="grow", operation=operation, message="", base=version
    ) as edit:
        edit.put_assets(rows.set_column(0, rows.schema.field(0), asset_ids))
    book.start(run.round_id, "import_data", "grown")
    book.finish(run.round_id, "import_data", "grown", {**imported, "pool": edit.commit.id})


def _grow_cache(folder: Path, count: int) -> None:
    for number in range(256):
        (folder / f"{number:02x}").mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number % 256:02x}" / f"{number % 256:02x}{number:062x}").touch()


def look_at_first_shard(ws: Workspace, place: Place, round_id: int) -> float:
    """Do what the task does, and return the peak of this process."""
    step = steps.shard_step(ws, place, round_id, 0)
    job = step.prepare()
    run_job(job, runner="process")
    assert step.collect(job)["images"] == SHARD
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
