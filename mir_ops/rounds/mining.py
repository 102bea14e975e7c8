"""Mining: which images of the pool people should label next, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.catalog import Model, ProjectSpec
from mir_ops.dataset import subset
from mir_ops.rounds.candidates import candidate_ids, digest
from mir_ops.rounds.executing import (
    class_ids,
    config_of,
    image_of,
    image_record,
    prepare_predictions,
)
from mir_ops.rounds.ledger import Entry, new_entry
from mir_ops.rounds.place import Place
from mir_ops.rounds.sharding import is_sharded, shard_predictions
from mir_ops.store import Commit, Operation, operation_id
from mir_ops.workspace import Workspace

if TYPE_CHECKING:
    from mir_ops.executor import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class MiningStep:
    """Predicts on every candidate, scores them on the host, and commits the pick."""

    entry: Entry
    pool: str
    candidates: pa.Array
    model: Model

    @property
    def finished(self) -> dict[str, Any] | None:
        if (taken := self.entry.taken()) is not None:
            return taken
        store, branch = self.entry.ws.store, self.entry.branches.mining
        commit = store.find_operation(branch, self.entry.op_id)
        sharded = is_sharded(self.entry, self.candidates)
        if commit is None and len(self.candidates) and not sharded:
            return None
        self.entry.start()
        with self.entry.failing():
            if commit is None and sharded:
                commit = self._commit(shard_predictions(self.entry, self.candidates, self.model))
            return self._pick(commit) if commit else self.entry.finish(self._nothing())

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
            result = self._pick(self._commit(inferred.predictions))
        remove_job(job)
        return result

    def _commit(self, predictions: pa.Table) -> Commit:
        from mir_ops.mining import select

        entry, store = self.entry, self.entry.ws.store
        spec, pool = entry.round.spec, store.read(self.pool)
        scores = select(
            spec.mining.strategy,
            assets=pool.assets(ids=self.candidates),
            predictions=predictions,
            class_ids=list(class_ids(entry).values()),
            budget=spec.mining.budget,
            seed=spec.seed,
        )
        with store.edit(
            entry.branches.mining,
            base=pool,
            op_id=entry.op_id,
            operation=Operation(
                kind="mine",
                parameters={**picking(spec), "model": self.model.model_id},
                inputs=(self.pool,),
                executor=image_of(spec).image,
                seed=spec.seed,
            ),
            message=f"Round {entry.round.number}: score {len(self.candidates)} images",
            **entry.provenance,
        ) as edit:
            edit.put_layer(
                f"predictions:{self.model.model_id}", predictions, assets=self.candidates
            )
            edit.put_layer(self._scores, scores, assets=self.candidates)
        return edit.commit

    def _pick(self, mining: Commit) -> dict[str, Any]:
        entry, store = self.entry, self.entry.ws.store
        scores = store.read(mining).layer(self._scores)
        picked = scores.filter(pc.is_valid(scores["rank"]))["asset_id"].combine_chunks()
        op_id = operation_id(f"{entry.place}/pick", {"mining": mining.id})
        mined = store.find_operation(entry.branches.mined, op_id) or subset(
            store,
            mining.id,
            entry.branches.mined,
            asset_ids=picked,
            op_id=op_id,
            message=f"Round {entry.round.number}: pick {len(picked)} images",
            **entry.provenance,
        )
        return entry.finish(
            {**self._nothing(), "picked": len(picked), "mining": mining.id, "commit": mined.id}
        )

    def _nothing(self) -> dict[str, Any]:
        spec = self.entry.round.spec.mining
        return {
            "op_id": self.entry.op_id,
            "strategy": spec.strategy,
            "budget": spec.budget,
            "model_id": self.model.model_id,
            "scores": self._scores,
            "candidates": len(self.candidates),
            "picked": 0,
            "mining": None,
            "commit": None,
        }

    @property
    def _scores(self) -> str:
        return f"scores:r{self.entry.round.number}"


def mining_step(ws: Workspace, place: Place, round_id: int) -> MiningStep:
    """The mining of this round."""
    spec = ws.catalog.rounds.get(round_id).spec
    model = ws.catalog.models.get(ws.catalog.steps.result(round_id, "train")["op_id"])
    pool = ws.catalog.steps.result(round_id, "import_data")["pool"]
    candidates = candidate_ids(ws, round_id)
    inputs = {
        "pool": pool,
        "candidates": digest(candidates),
        "model": model.model_id,
        "stage": model.stage,
        "image": image_record(spec),
        "config": config_of(spec, spec.executor.config.infer),
        "mining": picking(spec),
        "seed": spec.seed,
    }
    entry = new_entry(ws, place, round_id, "mine", inputs)
    return MiningStep(entry=entry, pool=pool, candidates=candidates, model=model)


def picking(spec: ProjectSpec) -> dict[str, Any]:
    """What decides over the pick: into how many shards the work was cut does not."""
    return spec.mining.model_dump(mode="json", exclude={"shard_size"})
