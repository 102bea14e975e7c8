"""Merge dataset versions: the first is the host, each may be for training, validation or tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mir_ops.dataset.revisions import Source, parse_source
from mir_ops.errors import InvalidInputError

if TYPE_CHECKING:
    import pyarrow as pa

    from mir_ops.dataset.conditions import Conditions
    from mir_ops.dataset.sampling import Sampling
    from mir_ops.store import Commit, Stats, Store, Version
    from mir_ops.store.merges import Plan
    from mir_ops.taxonomy import Taxonomy

Strategy = Literal["stop", "host", "guest", "union"]


def merge(
    store: Store,
    sources: Sequence[str | Source],
    branch: str,
    *,
    strategy: Strategy = "stop",
    exclude: Sequence[str] = (),
    op_id: str,
    message: str | None = None,
    project: str | None = None,
    round: int | str | None = None,  # noqa: A002 - the word of the commit
    run: str | None = None,
) -> Commit:
    """Commit the union of `sources` (`[tr:|va:|te:]rev`) without the images of `exclude`.

    For an image in several sources `host` keeps the first source's side, `guest` takes the last
    one's, `union` keeps the boxes of all, and `stop` raises `ConflictError` with the images that
    differ. The same operation merges once: again, it returns the first commit.
    """
    from mir_ops.store import Operation

    if done := store.find_operation(branch, op_id):
        return done
    found = _resolve(store, sources, strategy, exclude)
    return store.merge(
        branch,
        found.commits[0],
        found.commits[1:],
        strategy=strategy,
        splits=found.splits,
        exclude=found.excluded,
        start=found.commits[0] if found.host == branch else None,
        op_id=op_id,
        operation=Operation(kind="merge", parameters=found.parameters, inputs=found.inputs),
        message=message or f"Merge {', '.join(found.parameters['sources'])}",
        project=project,
        round=round,
        run=run,
    )


def fuse(
    store: Store,
    sources: Sequence[str | Source],
    branch: str,
    *,
    strategy: Strategy = "stop",
    exclude: Sequence[str] = (),
    conditions: Conditions,
    sampling: Sampling | None = None,
    taxonomy: Taxonomy | None = None,
    op_id: str,
    message: str | None = None,
    project: str | None = None,
    run: str | None = None,
) -> Commit:
    """Merge, then filter, then sample, in one commit. The same operation fuses once."""
    from mir_ops.dataset.filtering import keep, recorded_conditions
    from mir_ops.dataset.previews import preview
    from mir_ops.store import Operation

    if done := store.find_operation(branch, op_id):
        return done
    found = _resolve(store, sources, strategy, exclude)
    plan = _planned(store, found, strategy)
    merged = preview(plan.base, plan.changes)
    parameters = found.parameters | {
        "filter": recorded_conditions(merged, conditions, taxonomy),
        "sample": sampling.to_parameters() if sampling else None,
    }
    kept = _kept(merged, conditions, taxonomy, sampling)
    seed = sampling.seed if sampling else None
    with store.edit(
        branch,
        op_id=op_id,
        operation=Operation(kind="fuse", parameters=parameters, inputs=found.inputs, seed=seed),
        message=message or f"Fuse {', '.join(parameters['sources'])}: {len(kept)} images",
        base=plan.base.commit,
        start=found.commits[0] if found.host == branch else None,
        parents=plan.parents,
        project=project,
        run=run,
    ) as edit:
        edit.take(keep(merged, kept, base=plan.base, made=plan.changes))
    return edit.commit


def foretell(
    store: Store,
    sources: Sequence[str | Source],
    *,
    strategy: Strategy = "stop",
    exclude: Sequence[str] = (),
    conditions: Conditions,
    sampling: Sampling | None = None,
    taxonomy: Taxonomy | None = None,
) -> Stats:
    """The counts of the version that a fusion of these would commit. Nothing is written."""
    from mir_ops.dataset.previews import preview, stats_of_part

    found = _resolve(store, sources, strategy, exclude)
    plan = _planned(store, found, strategy)
    merged = preview(plan.base, plan.changes)
    return stats_of_part(merged, _kept(merged, conditions, taxonomy, sampling))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Resolved:
    """The commits of a merge's sources, and what the operation records of them."""

    host: str
    commits: list[Commit]
    excluded: list[Commit]
    splits: list[str | None]
    parameters: dict[str, Any]

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(commit.id for commit in (*self.commits, *self.excluded))


def _planned(store: Store, found: _Resolved, strategy: Strategy) -> Plan:
    from mir_ops.store.merges import plan_merge

    return plan_merge(
        store,
        [store.read(commit) for commit in found.commits],
        strategy=strategy,
        splits=found.splits,
        exclude=[store.read(commit) for commit in found.excluded],
    )


def _kept(
    merged: Version, conditions: Conditions, taxonomy: Taxonomy | None, sampling: Sampling | None
) -> pa.Array:
    from mir_ops.dataset.conditions import matching_assets
    from mir_ops.dataset.sampling import sampled_assets

    kept = matching_assets(merged, conditions, taxonomy)
    return sampled_assets(merged, kept, sampling) if sampling else kept


def _resolve(
    store: Store, sources: Sequence[str | Source], strategy: str, exclude: Sequence[str]
) -> _Resolved:
    parsed = [s if isinstance(s, Source) else parse_source(s) for s in sources]
    if not parsed:
        raise InvalidInputError(
            "A merge needs at least one source",
            code="no-sources",
            hint="Name them as `tr:first;va:second`",
        )
    named = [f"{source.split or ''}:{source.rev}".lstrip(":") for source in parsed]
    return _Resolved(
        host=parsed[0].rev,
        commits=[store.resolve(source.rev) for source in parsed],
        excluded=[store.resolve(rev) for rev in exclude],
        splits=[source.split for source in parsed],
        parameters={"sources": named, "strategy": strategy, "exclude": list(exclude)},
    )
