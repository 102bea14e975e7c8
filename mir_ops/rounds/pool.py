"""What mining looks at: the candidates, and labelled images for strategies that compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.catalog import Model, ProjectSpec
from mir_ops.rounds.candidates import digest, without
from mir_ops.rounds.executing import config_of, image_inputs, prepare_predictions
from mir_ops.rounds.ledger import Entry
from mir_ops.rounds.preparing import prepared
from mir_ops.rounds.starting import is_draw
from mir_ops.workspace import Workspace

if TYPE_CHECKING:
    from mir_ops.executor import Job
    from mir_ops.mining import Labelled, Registered
    from mir_ops.store import Version


@dataclass(frozen=True, kw_only=True)
class Pool:
    """A round's candidates, its training images, and the model that looks at them."""

    ws: Workspace
    round_id: int
    spec: ProjectSpec
    commit: str  # the pool
    training: str | None  # None as long as nothing is labelled
    candidates: pa.Array  # sorted
    model: Model | None  # None where nobody looks, and images are drawn

    @cached_property
    def looked_at(self) -> pa.Array:
        """Sorted ids: the candidates, and the labelled images where their vectors are needed."""
        if not len(self.compared):
            return self.candidates
        ids = pa.concat_arrays([self.candidates, self.compared])
        return ids.take(pc.sort_indices(ids))

    @cached_property
    def compared(self) -> pa.Array:
        """The labelled images that are looked at and are no candidates."""
        if self.model is None or "labelled vectors" not in self.strategy.needs:
            return self.candidates.slice(0, 0)
        return without(self.labelled, [self.candidates])

    @cached_property
    def labelled(self) -> pa.Array:
        """The images that the model was trained on."""
        if self.training is None:
            return self.candidates.slice(0, 0)
        version = self.ws.store.read(self.training)
        assets = version.assets(columns=["asset_id", "split"])
        ids = assets.filter(pc.equal(assets["split"], "train"))["asset_id"].combine_chunks()
        return ids.filter(pc.is_in(ids, value_set=version.layer_assets("ground_truth")))

    @property
    def ranks(self) -> bool:
        """Whether the image itself has to rank the candidates."""
        return "executor" in (self.spec.mining.strategy, *self.spec.mining.parameters.values())

    @property
    def strategy(self) -> Registered:
        """What the project names to pick by."""
        from mir_ops.mining import find_strategy

        return find_strategy(self.spec.mining.strategy)

    def prepare(self, entry: Entry, asset_ids: pa.Array) -> Job:
        """The job that looks at these images."""
        assert self.model is not None
        assert self.training is not None
        return prepare_predictions(
            entry, self.commit, asset_ids, self.model, mine=self.ranks, also=[self.training]
        )

    def inputs(self, asset_ids: pa.Array) -> dict[str, Any]:
        """What a look at these images depends on."""
        if self.model is None:
            return {"pool": self.commit, "candidates": digest(asset_ids), "model": None}
        return {
            "pool": self.commit,
            "candidates": digest(asset_ids),
            "model": self.model.model_id,
            "stage": self.model.stage,
            "image": image_inputs(self.ws, self.spec),
            "config": config_of(self.spec, self.spec.executor.config.infer),
            "ranks": self.ranks,
        }

    def known(self, classes: Mapping[int, str], embeddings: pa.Table | None) -> Labelled:
        """What strategies may know of the labelled images."""
        from mir_ops.mining import read_labelled

        assert self.training is not None
        truth = self.ws.store.read(self.training).layer(
            "ground_truth", columns=["asset_id", "class_id"], ids=self.labelled
        )
        truth = truth.filter(pc.is_in(truth["class_id"], pa.array(list(classes), pa.int32())))
        return read_labelled(truth, embeddings)

    def boxes_per_confidence(self) -> float:
        """Boxes on the validation images, over the confidence that the model finds there in sum."""
        found = self.ws.catalog.steps.find(self.round_id, "evaluate")
        if self.model is None or found is None or not found.result:
            return 1.0
        if found.result.get("model_id") != self.model.model_id:
            return 1.0
        return _boxes_per_confidence(
            self.ws.store.read(found.result["commit"]), self.model.model_id
        )


def round_pool(ws: Workspace, round_id: int) -> Pool:
    """The pool of this round, as it was when the round opened."""
    return pool_of(ws, round_id, *prepared(ws, round_id))


def pool_of(ws: Workspace, round_id: int, commit: str, candidates: pa.Array) -> Pool:
    """These candidates of a version, and the model by which this round looks at them."""
    steps = ws.catalog.steps
    looks = not is_draw(ws, round_id) and not takes_all(ws, round_id)
    return Pool(
        ws=ws,
        round_id=round_id,
        spec=ws.catalog.rounds.get(round_id).spec,
        commit=commit,
        training=steps.result(round_id, "merge_training")["commit"],
        candidates=candidates,
        model=ws.catalog.models.get(steps.result(round_id, "train")["op_id"]) if looks else None,
    )


def takes_all(ws: Workspace, round_id: int) -> bool:
    """Whether this run leaves the mining out: everything that was prepared is labelled."""
    return ws.catalog.rounds.get(round_id).conf.get("mine") is False


def _boxes_per_confidence(version: Version, model_id: str) -> float:
    found = version.layer(f"predictions:{model_id}", columns=["asset_id", "confidence"])
    looked_at = version.layer_assets(f"predictions:{model_id}")
    truth = version.layer("ground_truth", columns=["asset_id"], ids=looked_at).num_rows
    total = float(np.asarray(found["confidence"], dtype=np.float64).sum())
    return truth / total if truth and total else 1.0
