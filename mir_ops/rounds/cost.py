"""What a round cost: people, executors, time, and bytes in the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.catalog.tables import utc_now
from mir_ops.rounds.candidates import without
from mir_ops.rounds.ledger import Entry
from mir_ops.store import Commit, Store

_WORK: Final = {
    "training": ("train", "train_last"),
    "evaluation": ("evaluate", "evaluate_last"),
    "mining": ("mine",),
}
_MADE: Final = (
    "import_data",
    "merge_training",
    "evaluate",
    "prepare_pool",
    "mine",
    "import_labels",
    "merge_labels",
    "evaluate_last",
)
_SECONDS: Final = ("seconds", "cpu_seconds", "gpu_seconds")

Results = Mapping[str, Mapping[str, Any]]


def cost_of(entry: Entry, results: Results) -> dict[str, Any]:
    """The account of a round that closes now; `results` are what its steps left.

    Seconds are those of the work itself: an executor that was found done costs nothing. None
    where nobody measured.
    """
    labelled = results.get("import_labels", {})
    opened = entry.round.opened_at
    return {
        "images": labelled.get("done", 0),
        "boxes": labelled.get("boxes", 0),
        "annotator_seconds": labelled.get("seconds", 0.0),
        "executors": {what: _used(results, steps) for what, steps in _WORK.items()},
        "wall_seconds": round((utc_now() - opened).total_seconds(), 3),
        "stored_bytes": _stored(entry, results),
    }


def _used(results: Results, steps: Iterable[str]) -> dict[str, float | None]:
    """Seconds of one kind of work, the shards of a mining together."""
    found = [
        result["usage"]
        for step, result in results.items()
        if result.get("usage") and step.partition("_shard_")[0] in steps
    ]
    return {name: _sum(each[name] for each in found) for name in _SECONDS}


def _sum(values: Iterable[float | None]) -> float | None:
    known = list(values)
    return None if None in known else round(sum(each or 0.0 for each in known), 3)


def _stored(entry: Entry, results: Results) -> dict[str, int]:
    """Bytes of what this round added: rows of versions, images that came in, models."""
    store, rows, images = entry.ws.store, 0, 0
    for commit in _commits(entry, results):
        rows += _new_rows(store, commit)
        if commit.operation.kind == "import":
            images += _new_images(store, commit)
    packages = {
        results[step]["package"]
        for step in _WORK["training"]
        if results.get(step, {}).get("usage") and results[step].get("package")
    }
    models = sum(store.blobs.size(package) for package in packages)
    return {"rows": rows, "images": images, "models": models}


def _commits(entry: Entry, results: Results) -> list[Commit]:
    """What this round committed, each once."""
    ids = []
    for step in _MADE:
        result = results.get(step, {})
        named = ("training", "validation", "pool", "new_data", "commit", "mining")
        ids += [result[name] for name in named if isinstance(result.get(name), str)]
    mine = entry.provenance
    found = [entry.ws.store.commit(each) for each in dict.fromkeys(ids)]
    return [
        commit
        for commit in found
        if (commit.project, commit.round) == (mine["project"], str(mine["round"]))
    ]


def _new_rows(store: Store, commit: Commit) -> int:
    """Bytes of the files of a version that none of its parents has."""
    known = {
        segment.id
        for parent in commit.parents
        for part in store.read_commit_version(parent).segments().values()
        for segment in part
    }
    mine = {
        segment.id: segment.byte_size
        for part in store.read_commit_version(commit.id).segments().values()
        for segment in part
    }
    return sum(size for each, size in mine.items() if each not in known)


def _new_images(store: Store, commit: Commit) -> int:
    version = store.read_commit_version(commit.id)
    before = [store.read_commit_version(parent).asset_ids() for parent in commit.parents]
    assets = version.assets(columns=["asset_id", "byte_size"])
    fresh: pa.Array = without(version.asset_ids(), before)
    sizes = assets.filter(pc.is_in(assets["asset_id"], value_set=fresh))["byte_size"]
    return int(pc.sum(sizes).as_py() or 0)


def cost_lines(cost: Mapping[str, Any] | None) -> list[str]:
    """The account in sentences for people."""
    if cost is None:
        return []
    lines = [
        f"People: {cost['images']} images, {cost['boxes']} boxes, "
        f"{cost['annotator_seconds']:.0f} seconds."
    ]
    for what, used in cost["executors"].items():
        if used["seconds"]:
            parts = [f"{used['seconds']:.1f} s"]
            if used["cpu_seconds"] is not None:
                parts.append(f"{used['cpu_seconds']:.1f} CPU s")
            if used["gpu_seconds"]:
                parts.append(f"{used['gpu_seconds']:.1f} GPU s")
            lines.append(f"{what.capitalize()}: {', '.join(parts)}.")
    stored = ", ".join(
        f"{size / 1e6:.1f} MB of {what}" for what, size in cost["stored_bytes"].items()
    )
    return [*lines, f"From opening to closing: {cost['wall_seconds']:.0f} s. Stored: {stored}."]
