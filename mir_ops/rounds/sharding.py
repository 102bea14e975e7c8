"""Mining over a large pool in shards: each looks at its part, one step puts them together."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from mir_ops.errors import ConflictError, InvalidInputError
from mir_ops.mining.reading import SCORED
from mir_ops.rounds.candidates import content, digest
from mir_ops.rounds.executing import class_ids
from mir_ops.rounds.ledger import Entry, new_entry, once
from mir_ops.rounds.place import Place
from mir_ops.rounds.pool import Pool, pool_of, round_pool
from mir_ops.store.schema import ASSET_ID
from mir_ops.workspace import Workspace

if TYPE_CHECKING:
    from mir_ops.executor import InferenceResult, Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the executor found, read when it is asked for: of a large pool it is much.

    `whole` gives what picking needs of `predictions`, `embeddings` or the `ranking`, if there is
    any; `parts` gives all rows of one of them, and the images that were looked at, in their order.
    """

    whole: Callable[[str], pa.Table | None]
    parts: Callable[[str], Iterator[tuple[pa.Table, pa.Array]]]
    boxes: int
    has_vectors: bool

    @classmethod
    def nothing(cls) -> Found:
        """What is known where nobody looks."""
        return cls(whole=lambda _: None, parts=lambda _: iter(()), boxes=0, has_vectors=False)

    @classmethod
    def of(cls, inferred: InferenceResult, looked_at: pa.Array) -> Found:
        found = {
            "predictions": inferred.predictions,
            "embeddings": inferred.embeddings,
            "ranking": inferred.mining,
        }
        return cls(
            whole=found.__getitem__,
            parts=lambda what: iter([(found[what], looked_at)]),
            boxes=inferred.predictions.num_rows,
            has_vectors=inferred.embeddings is not None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardStep:
    """Looks at one part of the pool, and keeps what was found as blobs of the store."""

    entry: Entry
    pool: Pool
    part: pa.Array

    @property
    def finished(self) -> dict[str, Any] | None:
        return self.entry.taken()

    def prepare(self) -> Job:
        return self.pool.prepare(self.entry, self.part)

    def progress(self, percent: float, message: str) -> None:
        self.entry.progress(percent, message)

    def fail(self, message: str) -> None:
        self.entry.fail(message)

    def collect(self, job: Job) -> dict[str, Any]:
        from mir_ops.executor import collect_inference, remove_job
        from mir_ops.executor.usage import read_usage

        with self.entry.failing():
            found = collect_inference(job, class_ids(self.entry))
            result = self.entry.finish(
                {
                    "op_id": self.entry.op_id,
                    "images": len(self.part),
                    "candidates": digest(self.part),
                    "model_id": _model_id(self.pool),
                    "boxes": found.predictions.num_rows,
                    "predictions": _keep(self.entry, found.predictions),
                    "embeddings": _keep(self.entry, found.embeddings),
                    "ranking": _keep(self.entry, found.mining),
                    "usage": read_usage(job),
                }
            )
        remove_job(job)
        return result


def plan_shards(ws: Workspace, place: Place, round_id: int) -> dict[str, Any]:
    """Cut this round's pool into shards; into none when one container looks at it all.

    The ids of a shard are kept as a blob, whose name is their digest: who looks at a shard reads
    that and not the pool.
    """
    pool = round_pool(ws, round_id)
    parts = [_part(pool, number) for number in range(_count(pool))]
    inputs = {"pool": pool.commit, "shards": [digest(part) for part in parts]}

    def work(entry: Entry) -> dict[str, Any]:
        return {"pool": pool.commit, "shards": entry.ws.store.put_blobs(map(content, parts))}

    return once(new_entry(ws, place, round_id, "plan_shards", inputs), work)


def shard_step(ws: Workspace, place: Place, round_id: int, number: int) -> ShardStep:
    """The look at one shard of this round's pool."""
    plan = ws.catalog.steps.result(round_id, "plan_shards")
    if number not in range(len(plan["shards"])):
        raise InvalidInputError(
            f"The mining of this round has no shard {number}", code="no-such-shard"
        )
    ids = ws.store.get_blob(plan["shards"][number])
    part = pa.FixedSizeBinaryArray.from_buffers(
        ASSET_ID, len(ids) // ASSET_ID.byte_width, [None, pa.py_buffer(ids)]
    )
    pool = pool_of(ws, round_id, plan["pool"], part)
    entry = new_entry(ws, place, round_id, _name(number), pool.inputs(part))
    return ShardStep(entry=entry, pool=pool, part=part)


def join_shards(entry: Entry, pool: Pool) -> Found:
    """What all shards of this round's mining found, in the order of the images."""
    results = [_checked(entry, pool, number) for number in range(_count(pool))]

    def parts(what: str, columns: list[str] | None = None) -> Iterator[tuple[pa.Table, pa.Array]]:
        for number, result in enumerate(results):
            blob = pa.BufferReader(entry.ws.store.get_blob(result[what]))
            yield pq.read_table(blob, columns=columns), _part(pool, number)

    def whole(what: str) -> pa.Table | None:
        if None in [result[what] for result in results]:
            return None
        columns = list(SCORED) if what == "predictions" else None
        return pa.concat_tables(table for table, _ in parts(what, columns))

    return Found(
        whole=whole,
        parts=parts,
        boxes=sum(result["boxes"] for result in results),
        has_vectors=all(result["embeddings"] for result in results),
    )


def is_sharded(pool: Pool) -> bool:
    """Whether what was found comes from shards."""
    return _count(pool) > 0


def _checked(entry: Entry, pool: Pool, number: int) -> dict[str, Any]:
    result = dict(entry.ws.catalog.steps.result(entry.round.id, _name(number)))
    now = (digest(_part(pool, number)), _model_id(pool))
    if (result["candidates"], result["model_id"]) != now:
        raise ConflictError(
            f"Shard {number} was predicted for other images or another model",
            code="shard-outdated",
            hint="Clear the tasks `plan_shards` and `mine_shard` too",
        )
    return result


def _count(pool: Pool) -> int:
    size = pool.spec.mining.shard_size
    if pool.model is None or size is None or len(pool.candidates) <= size:
        return 0
    return -(-len(pool.looked_at) // size)


def _model_id(pool: Pool) -> str | None:
    return pool.model.model_id if pool.model else None


def _part(pool: Pool, number: int) -> pa.Array:
    size = pool.spec.mining.shard_size
    assert size is not None
    return pool.looked_at.slice(number * size, size)


def _name(number: int) -> str:
    return f"mine_shard_{number}"


def _keep(entry: Entry, table: pa.Table | None) -> str | None:
    if table is None:
        return None
    with tempfile.TemporaryDirectory(dir=entry.ws.work_dir) as folder:
        path = Path(folder) / "found.parquet"
        pq.write_table(table, path, compression="zstd")
        return entry.ws.store.put_blob(path)
