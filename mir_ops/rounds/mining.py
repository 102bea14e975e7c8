"""Mining: which images of the pool people should label next, and why."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.catalog import Model
from mir_ops.dataset import subset
from mir_ops.rounds.executing import (
    class_ids,
    config_of,
    image_of,
    image_record,
    prepare_predictions,
)
from mir_ops.rounds.ledger import Entry, new_entry
from mir_ops.rounds.opening import earlier_rounds, opened
from mir_ops.rounds.place import Place
from mir_ops.store import Commit, Operation, operation_id
from mir_ops.workspace import Workspace

if TYPE_CHECKING:
    from mir_ops.executor import InferenceResult, Job


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
        if commit is None and len(self.candidates):
            return None
        self.entry.start()
        with self.entry.failing():
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
            result = self._pick(self._commit(collect_inference(job, class_ids(self.entry))))
        remove_job(job)
        return result

    def _commit(self, inferred: InferenceResult) -> Commit:
        from mir_ops.mining import select

        entry, store = self.entry, self.entry.ws.store
        spec, pool = entry.round.spec, store.read(self.pool)
        scores = select(
            spec.mining.strategy,
            assets=pool.assets(ids=self.candidates),
            predictions=inferred.predictions,
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
                parameters={**spec.mining.model_dump(), "model": self.model.model_id},
                inputs=(self.pool,),
                executor=image_of(spec).image,
                seed=spec.seed,
            ),
            message=f"Round {entry.round.number}: score {len(self.candidates)} images",
            **entry.provenance,
        ) as edit:
            edit.put_layer(
                f"predictions:{self.model.model_id}", inferred.predictions, assets=self.candidates
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
        "candidates": _digest(candidates),
        "model": model.model_id,
        "stage": model.stage,
        "image": image_record(spec),
        "config": config_of(spec, spec.executor.config.infer),
        "mining": spec.mining.model_dump(mode="json"),
        "seed": spec.seed,
    }
    entry = new_entry(ws, place, round_id, "mine", inputs)
    return MiningStep(entry=entry, pool=pool, candidates=candidates, model=model)


def candidate_ids(ws: Workspace, round_id: int) -> pa.Array:
    """The pool without what the project's rule excludes, sorted: as it was when the round opened.

    `dedup`: neither what is in the training version nor what was labelled. `chunk`: also nothing
    that an earlier round scored. `none`: only validation images are kept out.
    """
    data, store = ws.catalog.steps.result(round_id, "import_data"), ws.store
    training = ws.catalog.steps.result(round_id, "merge_training")["commit"]
    rule = ws.catalog.rounds.get(round_id).spec.mining.exclude
    excluded = [store.read(data["validation"]).asset_ids()]
    if rule != "none":
        excluded.append(store.read(training).asset_ids())
        if (labels := opened(ws, round_id)["labels"]) is not None:
            excluded.append(store.read(labels).asset_ids())
    if rule == "chunk":
        excluded += _scored_before(ws, round_id)
    pool = without(store.read(data["pool"]).asset_ids(), excluded)
    return pool.take(pc.sort_indices(pool))


def _scored_before(ws: Workspace, round_id: int) -> list[pa.Array]:
    found = []
    for earlier in earlier_rounds(ws, ws.catalog.rounds.get(round_id)):
        step = ws.catalog.steps.find(earlier.id, "mine")
        if step is not None and step.result is not None and step.result["mining"] is not None:
            version = ws.store.read(step.result["mining"])
            found.append(version.layer_assets(step.result["scores"]))
    return found


def without(ids: pa.Array, excluded: Sequence[pa.Array]) -> pa.Array:
    """The ids that none of the others has."""
    for others in excluded:
        ids = ids.filter(pc.invert(pc.is_in(ids, value_set=others)))
    return ids


def _digest(ids: pa.Array) -> str:
    width = ids.type.byte_width
    content = memoryview(ids.buffers()[1])[ids.offset * width : (ids.offset + len(ids)) * width]
    return hashlib.sha256(content).hexdigest()
