"""One turn of cleaning up on a host: what stays is asked of the catalog and of the engine first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from mir_ops.dataset.unfinished import forget_old
from mir_ops.errors import MirError
from mir_ops.executor.cache import AssetCache
from mir_ops.upkeep.cleaning import Rules, Stale, Wanted, find_stale, remove
from mir_ops.workspace import Workspace


@dataclass(slots=True)
class Cleaned:
    """What was removed, or would be, and what could not be."""

    removed: list[Stale] = field(default_factory=list)
    kept: list[Stale] = field(default_factory=list)
    cache_bytes: int | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def byte_size(self) -> int:
        return sum(one.byte_size for one in self.removed)


def clean(
    ws: Workspace, *, rules: Rules, logs_dir: Path | None = None, dry_run: bool = False
) -> Cleaned:
    """Remove what is old and unwanted on this host, and let the asset cache keep its limit."""
    done = Cleaned()
    wanted = _wanted(ws, done)
    if wanted is None:
        return done
    found = list(find_stale(ws.work_dir, wanted=wanted, rules=rules, logs_dir=logs_dir))
    for stale in found:
        gone = dry_run or remove(stale, ws.jobs_dir)
        (done.removed if gone else done.kept).append(stale)
    if not dry_run:
        if ws.downloads_dir.is_dir():
            forget_old(ws.downloads_dir)
        if ws.cache_dir.is_dir():
            done.cache_bytes = AssetCache(ws.cache_dir).evict()
    return done


def _wanted(ws: Workspace, done: Cleaned) -> Wanted | None:
    """None: nobody can say what runs, and nothing is removed."""
    operations, runs = set(), set()
    for round_ in ws.catalog.rounds.list():
        if round_.state == "open":
            runs.add((round_.dag_id, round_.run_id))
            operations |= {step.op_id[:32] for step in ws.catalog.steps.list(round_.id)}
    try:
        operations |= set(_of_containers())
    except MirError as error:
        if ws.runner == "docker":
            done.notes.append(f"Nothing is removed: {error}")
            return None
    return Wanted(operations=operations, runs=runs)


def _of_containers() -> Iterator[str]:
    """Operations that have a container, running or not: its task may come back for its output."""
    from mir_ops.executor.engine import open_engine

    with closing(open_engine()) as engine:
        for found in engine.containers(all=True, filters={"label": "mir.operation"}):
            yield str(found["Labels"]["mir.operation"])[:32]
