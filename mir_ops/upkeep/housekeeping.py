"""One turn of cleaning up on a host: what stays is asked of the catalog and of the engine first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mir_ops.dataset.unfinished import forget_old
from mir_ops.errors import MirError
from mir_ops.executor.cache import AssetCache
from mir_ops.upkeep.cleaning import (
    Rules,
    Stale,
    Wanted,
    find_jobs,
    find_labelled,
    find_logs,
    remove,
)
from mir_ops.workspace import Workspace

if TYPE_CHECKING:
    from mir_ops.upkeep.old_images import OldImage


@dataclass(slots=True)
class Cleaned:
    """What was removed, or would be, and what could not be. `failed` are parts of the work that
    broke off, with their reasons: the others were done."""

    removed: list[Stale | OldImage] = field(default_factory=list)
    kept: list[Stale | OldImage] = field(default_factory=list)
    cache_bytes: int | None = None
    notes: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @property
    def byte_size(self) -> int:
        return sum(one.byte_size for one in self.removed)


def clean(
    ws: Workspace,
    *,
    rules: Rules,
    logs_dir: Path | None = None,
    labels_dir: Path | None = None,
    images: bool = False,
    dry_run: bool = False,
) -> Cleaned:
    """Remove what is old and unwanted on this host, and let the asset cache keep its limit.

    Each part is done whatever happens to the others. Images go only where that is said. The label
    folder is by default the work folder's `labels`.
    """
    turn = _Turn(ws=ws, rules=rules, dry_run=dry_run, done=Cleaned())
    labels = labels_dir or ws.work_dir / "labels"
    parts: dict[str, Callable[[], None]] = {
        "jobs": turn.jobs,
        "labels": lambda: turn.settle(find_labelled(labels, rules=rules)),
    }
    if logs_dir is not None:
        parts["logs"] = lambda: turn.logs(logs_dir)
    if images:
        parts["images"] = turn.images
    if not dry_run:
        parts["downloads"] = lambda: forget_old(ws.downloads_dir)
        parts["cache"] = turn.cache
    for name, part in parts.items():
        try:
            part()
        except (MirError, OSError) as error:
            turn.done.failed.append(f"{name}: {error}")
    return turn.done


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    ws: Workspace
    rules: Rules
    dry_run: bool
    done: Cleaned

    def settle(self, found: Iterable[Stale]) -> None:
        for stale in list(found):
            self.note(stale, gone=self.dry_run or remove(stale, self.ws.jobs_dir))

    def note(self, one: Stale | OldImage, *, gone: bool) -> None:
        (self.done.removed if gone else self.done.kept).append(one)

    def jobs(self) -> None:
        operations, _ = self._open_rounds()
        try:
            in_pods = self.ws.runner == "kubernetes"
            operations |= set(_of_pods() if in_pods else _of_containers())
        except MirError as error:
            if self.ws.runner != "process":  # nobody can say what runs
                self.done.notes.append(f"No job is removed: {error}")
                return
        wanted = Wanted(operations=operations)
        self.settle(find_jobs(self.ws.work_dir, wanted=wanted, rules=self.rules))

    def logs(self, folder: Path) -> None:
        _, runs = self._open_rounds()
        self.settle(find_logs(folder, wanted=Wanted(runs=runs), rules=self.rules))

    def images(self) -> None:
        from mir_ops.executor.engine import open_engine
        from mir_ops.upkeep.old_images import find_old_images, remove_image

        with closing(open_engine()) as engine:
            found = find_old_images(engine, self.ws.catalog, days=self.rules.image_days)
            for image in list(found):
                self.note(image, gone=self.dry_run or remove_image(engine, image))

    def cache(self) -> None:
        if self.ws.cache_dir.is_dir():
            self.done.cache_bytes = AssetCache(self.ws.cache_dir).evict()

    def _open_rounds(self) -> tuple[set[str], set[tuple[str, str]]]:
        """Operations of open rounds, and their runs."""
        operations, runs = set(), set()
        for round_ in self.ws.catalog.rounds.list():
            if round_.state == "open":
                runs.add((round_.dag_id, round_.run_id))
                steps = self.ws.catalog.steps.list(round_.id)
                operations |= {step.op_id[:32] for step in steps}
        return operations, runs


def _of_containers() -> Iterator[str]:
    """Operations that have a container, running or not: its task may come back for its output."""
    from mir_ops.executor.engine import open_engine

    with closing(open_engine()) as engine:
        for found in engine.containers(all=True, filters={"label": "mir.operation"}):
            yield str(found["Labels"]["mir.operation"])[:32]


def _of_pods() -> Iterator[str]:
    """The same in a cluster."""
    from mir_ops.executor.cluster import open_cluster
    from mir_ops.executor.pods import SELECTOR

    with closing(open_cluster()) as cluster:
        for found in cluster.list_pods(SELECTOR):
            if operation := (found["metadata"].get("annotations") or {}).get("mir.operation"):
                yield str(operation)[:32]
