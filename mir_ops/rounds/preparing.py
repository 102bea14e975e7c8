"""The pool is prepared: filtered, rid of what the project's rule excludes, sampled."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.catalog.projects import PoolSpec
from mir_ops.dataset.conditions import Bounds, Conditions, matching_assets
from mir_ops.dataset.filtering import keep
from mir_ops.dataset.sampling import Sampling, sampled_assets
from mir_ops.rounds.candidates import candidate_ids, digest
from mir_ops.rounds.ledger import Entry, new_entry, once
from mir_ops.rounds.place import Place
from mir_ops.store import Operation
from mir_ops.workspace import Workspace

_SEEDS = 2**31


def prepare_pool(ws: Workspace, place: Place, round_id: int) -> dict[str, Any]:
    """Commit the candidates of this round, where the project filters or samples its pool.

    Where it does not, nothing is committed: the candidates are what the rule does not exclude.
    """
    pool = str(ws.catalog.steps.result(round_id, "import_data")["pool"])
    open_to_all = candidate_ids(ws, round_id)
    rules = ws.catalog.rounds.get(round_id).spec.pool
    inputs = {"pool": pool, "candidates": digest(open_to_all), "rules": rules.model_dump()}

    def work(entry: Entry) -> dict[str, Any]:
        left_out = {"excluded": ws.store.read(pool).stats.assets - len(open_to_all)}
        if rules == PoolSpec():
            return {"commit": None, "images": len(open_to_all), "left_out": left_out}
        fitting = _fitting(ws, pool, open_to_all, rules)
        kept = _sampled(entry, pool, fitting, rules)
        left_out |= {
            "filtered": len(open_to_all) - len(fitting),
            "not_drawn": len(fitting) - len(kept),
        }
        commit = _commit(entry, pool, kept, rules) if len(kept) else None
        return {"commit": commit, "images": len(kept), "left_out": left_out}

    return once(new_entry(ws, place, round_id, "prepare_pool", inputs), work)


def prepared(ws: Workspace, round_id: int) -> tuple[str, pa.Array]:
    """The version that a round mines in, and its candidates, sorted."""
    pool = str(ws.catalog.steps.result(round_id, "import_data")["pool"])
    step = ws.catalog.steps.find(round_id, "prepare_pool")
    found = step.result if step is not None and step.state == "done" else None
    if found and found["commit"]:
        return found["commit"], ws.store.read(found["commit"]).asset_ids()
    ids = candidate_ids(ws, round_id)
    return pool, ids.slice(0, found["images"]) if found else ids


def eligible(ws: Workspace, round_id: int) -> pa.Array:
    """The candidates before any are drawn: what a later round may look at too."""
    pool = str(ws.catalog.steps.result(round_id, "import_data")["pool"])
    rules = ws.catalog.rounds.get(round_id).spec.pool
    return _fitting(ws, pool, candidate_ids(ws, round_id), rules)


def _fitting(ws: Workspace, pool: str, ids: pa.Array, rules: PoolSpec) -> pa.Array:
    conditions = Conditions(
        attributes=rules.attributes,
        exclude_attributes=rules.exclude_attributes,
        width=Bounds(low=rules.least_width),
        height=Bounds(low=rules.least_height),
    )
    return ids.filter(pc.is_in(ids, value_set=matching_assets(ws.store.read(pool), conditions)))


def _sampled(entry: Entry, pool: str, ids: pa.Array, rules: PoolSpec) -> pa.Array:
    """Other images in each round: the number of the round goes into the seed."""
    if rules.sample is None:
        return ids
    seed = (entry.round.spec.seed + entry.round.number) % _SEEDS
    sampling = Sampling(count=rules.sample, seed=seed)
    return sampled_assets(entry.ws.store.read(pool), ids, sampling)


def _commit(entry: Entry, pool: str, kept: pa.Array, rules: PoolSpec) -> str:
    store, branch = entry.ws.store, entry.branches.pool
    if (done := store.find_operation(branch, entry.op_id)) is not None:
        return done.id
    version, spec = store.read(pool), entry.round.spec
    with store.edit(
        branch,
        base=version,
        op_id=entry.op_id,
        operation=Operation(
            kind="prepare",
            parameters={**rules.model_dump(mode="json"), "exclude": spec.mining.exclude},
            inputs=(pool,),
            seed=spec.seed,
        ),
        message=f"Round {entry.round.number}: {len(kept)} images of the pool to mine in",
        **entry.provenance,
    ) as edit:
        edit.take(keep(version, kept))
    return edit.commit.id
