"""Mining: which images of the pool people should label next, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.catalog import ProjectSpec
from mir_ops.dataset import subset
from mir_ops.rounds.candidates import without
from mir_ops.rounds.executing import class_ids, image_of
from mir_ops.rounds.ledger import Entry, new_entry
from mir_ops.rounds.place import Place
from mir_ops.rounds.pool import Pool, round_pool, takes_all
from mir_ops.rounds.sharding import Found, is_sharded, join_shards
from mir_ops.store import Commit, Operation, operation_id
from mir_ops.store.schema import PREDICTIONS
from mir_ops.workspace import Workspace

if TYPE_CHECKING:
    from mir_ops.executor import Job
    from mir_ops.mining import Limits, Selection


@dataclass(frozen=True, slots=True, kw_only=True)
class MiningStep:
    """Looks at every candidate, scores them on the host, and commits the pick."""

    entry: Entry
    pool: Pool

    @property
    def finished(self) -> dict[str, Any] | None:
        if (taken := self.entry.taken()) is not None:
            return taken
        store, branch = self.entry.ws.store, self.entry.branches.mining
        commit = store.find_operation(branch, self.entry.op_id)
        sharded = is_sharded(self.pool)
        looks = self.pool.model is not None
        if commit is None and len(self.pool.candidates) and looks and not sharded:
            return None
        self.entry.start()
        with self.entry.failing():
            if commit is None and sharded:
                commit = self._commit(join_shards(self.entry, self.pool))
            elif commit is None and len(self.pool.candidates):
                commit = self._commit(Found.nothing())
            return self._pick(commit) if commit else self.entry.finish(self._nothing())

    def prepare(self) -> Job:
        return self.pool.prepare(self.entry, self.pool.looked_at)

    def progress(self, percent: float, message: str) -> None:
        self.entry.progress(percent, message)

    def fail(self, message: str) -> None:
        self.entry.fail(message)

    def collect(self, job: Job) -> dict[str, Any]:
        from mir_ops.executor import collect_inference, remove_job
        from mir_ops.executor.usage import read_usage

        with self.entry.failing():
            found = collect_inference(job, class_ids(self.entry))
            mining = self._commit(Found.of(found, self.pool.looked_at))
            result = self._pick(mining, usage=read_usage(job))
        remove_job(job)
        return result

    def _commit(self, found: Found) -> Commit:
        entry, candidates = self.entry, self.pool.candidates
        spec, model = entry.round.spec, self.pool.model
        selection = self._select(found) if model else self._draw()
        with entry.ws.store.edit(
            entry.branches.mining,
            base=entry.ws.store.read(self.pool.commit),
            op_id=entry.op_id,
            operation=Operation(
                kind="mine",
                parameters={
                    **picking(spec),
                    "strategy": self._strategy,
                    "model": model.model_id if model else None,
                    "notes": list(selection.notes),
                },
                inputs=tuple(each for each in (self.pool.commit, self.pool.training) if each),
                executor=image_of(spec).image if model else None,
                seed=spec.seed,
            ),
            message=f"Round {entry.round.number}: score {len(candidates)} images",
            **entry.provenance,
        ) as edit:
            edit.put_layer(self._scores, selection.scores, assets=candidates)
            if model is not None:
                size = max(found.boxes, len(candidates))
                predictions = self._of_candidates(found, "predictions")
                edit.write_layer(f"predictions:{model.model_id}", predictions, size=size)
            if model is not None and found.has_vectors:
                vectors = ((rows, None) for rows, _ in self._of_candidates(found, "embeddings"))
                edit.write_layer(f"embeddings:{model.model_id}", vectors, size=len(candidates))
        return edit.commit

    def _of_candidates(self, found: Found, what: str) -> Iterator[tuple[pa.Table, pa.Array]]:
        """What was found on the candidates, part by part, and which those are."""
        for table, assets in found.parts(what):
            if len(compared := self.pool.compared):
                strange = pc.is_in(table["asset_id"], value_set=compared)
                table, assets = table.filter(pc.invert(strange)), without(assets, [compared])
            yield table, assets

    def _draw(self) -> Selection:
        """Without a model nothing is known of an image: as many as wanted, by the seed."""
        from mir_ops.mining import select

        pool, spec = self.pool, self.entry.round.spec
        return select(
            "random",
            assets=self.entry.ws.store.read(pool.commit).assets(
                columns=["asset_id"], ids=pool.candidates
            ),
            predictions=PREDICTIONS.empty_table(),
            classes={class_id: name for name, class_id in class_ids(self.entry).items()},
            budget=len(pool.candidates) if self._strategy == "all" else spec.mining.budget,
            seed=spec.seed,
        )

    @property
    def _strategy(self) -> str:
        """What picked: the project's strategy, a draw, or nobody."""
        if takes_all(self.entry.ws, self.entry.round.id):
            return "all"
        return "random" if self.pool.model is None else self.entry.round.spec.mining.strategy

    def _select(self, found: Found) -> Selection:
        from mir_ops.mining import Control, control_seed, select

        pool, spec = self.pool, self.entry.round.spec
        ids = class_ids(self.entry)
        classes = {class_id: name for name, class_id in ids.items()}
        compares = {"vectors", "labelled vectors"} & pool.strategy.needs
        vectors = found.whole("embeddings") if compares else None
        return select(
            spec.mining.strategy,
            assets=self.entry.ws.store.read(pool.commit).assets(
                columns=_columns(spec), ids=pool.candidates
            ),
            predictions=found.whole("predictions"),
            classes=classes,
            budget=spec.mining.budget,
            seed=spec.seed,
            parameters=spec.mining.parameters,
            embeddings=vectors,
            labelled=pool.known(classes, None if vectors is None else _on(vectors, pool.labelled)),
            ranking=found.whole("ranking"),
            limits=_limits(pool, ids),
            control=Control(
                share=spec.mining.control,
                seed=control_seed(spec.seed, self.entry.round.number),
            ),
        )

    def _pick(self, mining: Commit, *, usage: Mapping[str, Any] | None = None) -> dict[str, Any]:
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
            {
                **self._nothing(),
                "picked": len(picked),
                "mining": mining.id,
                "commit": mined.id,
                "notes": mining.operation.parameters["notes"],
                "usage": usage,
            }
        )

    def _nothing(self) -> dict[str, Any]:
        spec = self.entry.round.spec.mining
        return {
            "op_id": self.entry.op_id,
            "strategy": self._strategy,
            "budget": spec.budget,
            "model_id": self.pool.model.model_id if self.pool.model else None,
            "scores": self._scores,
            "candidates": len(self.pool.candidates),
            "picked": 0,
            "mining": None,
            "commit": None,
            "notes": [],
            "usage": None,
        }

    @property
    def _scores(self) -> str:
        return f"scores:r{self.entry.round.number}"


def mining_step(ws: Workspace, place: Place, round_id: int) -> MiningStep:
    """The mining of this round."""
    pool = round_pool(ws, round_id)
    inputs = {
        **pool.inputs(pool.looked_at),
        "training": pool.training,
        "mining": picking(pool.spec),
        "seed": pool.spec.seed,
    }
    if takes_all(ws, round_id):
        inputs["strategy"] = "all"
    entry = new_entry(ws, place, round_id, "mine", inputs)
    return MiningStep(entry=entry, pool=pool)


def picking(spec: ProjectSpec) -> dict[str, Any]:
    """What decides over the pick: into how many shards the work was cut does not."""
    return spec.mining.model_dump(mode="json", exclude={"shard_size"})


def _columns(spec: ProjectSpec) -> list[str]:
    """What picking needs of the assets."""
    column = spec.mining.source.partition(".")[0]
    return ["asset_id"] if spec.mining.per_source is None else ["asset_id", column]


def _limits(pool: Pool, class_ids: dict[str, int]) -> Limits:
    from mir_ops.mining import Limits

    mining = pool.spec.mining
    return Limits(
        unit=mining.unit,
        boxes_per_confidence=pool.boxes_per_confidence() if mining.unit == "boxes" else 1.0,
        quotas={class_ids[name]: count for name, count in mining.quotas.items()},
        per_source=mining.per_source,
        source=mining.source,
    )


def _on(table: pa.Table, asset_ids: pa.Array) -> pa.Table:
    """The rows of these assets."""
    return table.filter(pc.is_in(table["asset_id"], value_set=asset_ids))
