"""Mining over a large pool in shards: each predicts on its part, one step puts them together."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from mir_ops.catalog import Model
from mir_ops.errors import ConflictError, InvalidInputError
from mir_ops.rounds.candidates import candidate_ids, digest
from mir_ops.rounds.executing import (
    class_ids,
    config_of,
    image_record,
    prepare_predictions,
)
from mir_ops.rounds.ledger import Entry, new_entry
from mir_ops.rounds.place import Place
from mir_ops.workspace import Workspace

if TYPE_CHECKING:
    from mir_ops.executor import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardStep:
    """Predicts on one part of the candidates, and keeps the predictions as a blob of the store."""

    entry: Entry
    pool: str
    candidates: pa.Array
    model: Model

    @property
    def finished(self) -> dict[str, Any] | None:
        return self.entry.taken()

    def prepare(self) -> Job:
        return prepare_predictions(self.entry, self.pool, self.candidates, self.model)

    def progress(self, percent: float, message: str) -> None:
        self.entry.progress(percent, message)

    def fail(self, message: str) -> None:
        self.entry.fail(message)

    def collect(self, job: Job) -> dict[str, Any]:
        from mir_ops.executor import collect_inference, remove_job

        with self.entry.failing():
            inferred = collect_inference(job, class_ids(self.entry))
            result = self.entry.finish(
                {
                    "op_id": self.entry.op_id,
                    "images": len(self.candidates),
                    "candidates": digest(self.candidates),
                    "model_id": self.model.model_id,
                    "boxes": inferred.predictions.num_rows,
                    "predictions": _keep(self.entry, inferred.predictions),
                }
            )
        remove_job(job)
        return result


def shard_numbers(ws: Workspace, round_id: int) -> list[int]:
    """The shards of this round's mining; none when one container does it all."""
    size = ws.catalog.rounds.get(round_id).spec.mining.shard_size
    count = len(candidate_ids(ws, round_id))
    return list(range(_count(count, size)))


def shard_step(ws: Workspace, place: Place, round_id: int, number: int) -> ShardStep:
    """The prediction of one shard of this round's mining."""
    spec = ws.catalog.rounds.get(round_id).spec
    candidates = candidate_ids(ws, round_id)
    if number not in range(_count(len(candidates), spec.mining.shard_size)):
        raise InvalidInputError(
            f"The mining of this round has no shard {number}", code="no-such-shard"
        )
    assert spec.mining.shard_size is not None
    part = candidates.slice(number * spec.mining.shard_size, spec.mining.shard_size)
    model = ws.catalog.models.get(ws.catalog.steps.result(round_id, "train")["op_id"])
    pool = ws.catalog.steps.result(round_id, "import_data")["pool"]
    inputs = _inputs(ws, round_id, pool, part, model)
    entry = new_entry(ws, place, round_id, _name(number), inputs)
    return ShardStep(entry=entry, pool=pool, candidates=part, model=model)


def shard_predictions(entry: Entry, candidates: pa.Array, model: Model) -> pa.Table:
    """What all shards of this round's mining found, in the order of the images."""
    ws, size = entry.ws, entry.round.spec.mining.shard_size
    tables = []
    for number in range(_count(len(candidates), size)):
        assert size is not None
        result = ws.catalog.steps.result(entry.round.id, _name(number))
        part = candidates.slice(number * size, size)
        if (result["candidates"], result["model_id"]) != (digest(part), model.model_id):
            raise ConflictError(
                f"Shard {number} was predicted for other images or another model",
                code="shard-outdated",
                hint="Clear the tasks `plan_shards` and `mine_shard` too",
            )
        tables.append(pq.read_table(pa.BufferReader(ws.store.get_blob(result["predictions"]))))
    return pa.concat_tables(tables)


def is_sharded(entry: Entry, candidates: pa.Array) -> bool:
    """Whether the predictions come from shards."""
    return _count(len(candidates), entry.round.spec.mining.shard_size) > 0


def _count(candidates: int, size: int | None) -> int:
    return 0 if size is None or candidates <= size else -(-candidates // size)


def _name(number: int) -> str:
    return f"mine_shard_{number}"


def _inputs(
    ws: Workspace, round_id: int, pool: str, part: pa.Array, model: Model
) -> dict[str, Any]:
    spec = ws.catalog.rounds.get(round_id).spec
    return {
        "pool": pool,
        "candidates": digest(part),
        "model": model.model_id,
        "stage": model.stage,
        "image": image_record(spec),
        "config": config_of(spec, spec.executor.config.infer),
    }


def _keep(entry: Entry, predictions: pa.Table) -> str:
    with tempfile.TemporaryDirectory(dir=entry.ws.work_dir) as folder:
        path = Path(folder) / "predictions.parquet"
        pq.write_table(predictions, path, compression="zstd")
        return entry.ws.store.put_blob(path)
