"""Data comes in: import, and merge into the training version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mir_ops.catalog import Round
from mir_ops.dataset import import_dataset, merge
from mir_ops.dataset.sharing import shared_path
from mir_ops.dataset.sources import open_files
from mir_ops.errors import NotFoundError
from mir_ops.evaluation.frozen import refuse_frozen_images
from mir_ops.rounds.ledger import Entry, new_entry, once
from mir_ops.rounds.opening import earlier_rounds, opened
from mir_ops.rounds.place import Branches, Place
from mir_ops.store import operation_id
from mir_ops.taxonomy import Taxonomy
from mir_ops.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One thing to import: `new_data` goes where the training data goes.

    An index file names no files outside of the folder `inside`, if there is one.
    """

    role: str
    branch: str
    path: Path
    annotations: Literal["voc", "none"]
    inside: Path | None = None


def import_data(ws: Workspace, place: Place, round_id: int) -> dict[str, Any]:
    """Import the project's sources and this run's new data.

    What was imported before, from the same bytes, is the same commit: also in a later round.
    """
    round_ = ws.catalog.rounds.get(round_id)
    sources = _sources(round_, ws.sharing_dir)
    digests = {source.role: _digest(source) for source in sources}
    inputs = {"sources": digests, "classes": list(round_.spec.classes)}

    def work(entry: Entry) -> dict[str, Any]:
        taken: dict[str, Any] = {"images": {}, "issues": {}}
        taken |= dict.fromkeys(("training", "validation", "new_data"))
        for position, source in enumerate(sources):
            follow = _follower(entry, source.role, position, len(sources))
            taken |= _import(entry, source, digests[source.role], taken, follow)
        return taken

    return once(new_entry(ws, place, round_id, "import_data", inputs), work)


def merge_training(ws: Workspace, place: Place, round_id: int) -> dict[str, Any]:
    """Merge what came in, and labels that a failed round left, into the training version.

    There is none, and `commit` is None, as long as nothing is labelled.
    """
    base, guests = to_merge(ws, round_id)
    inputs = {"base": base, "guests": guests}

    def work(entry: Entry) -> dict[str, Any]:
        if not guests:
            return {"commit": base, "merged": []}
        _refuse_frozen(ws, guests)
        branch = entry.branches.training
        commit = ws.store.find_operation(branch, entry.op_id) or merge(
            ws.store,
            [*([base] if base else []), *guests],
            branch,
            strategy="stop",
            op_id=entry.op_id,
            message=f"Round {entry.round.number}: merge what came in",
            **entry.provenance,
        )
        return {"commit": commit.id, "merged": [guest.partition(":")[2] for guest in guests]}

    return once(new_entry(ws, place, round_id, "merge_training", inputs), work)


def to_merge(ws: Workspace, round_id: int) -> tuple[str | None, list[str]]:
    """The training version that the round starts from, and what joins it: typed sources."""
    round_ = ws.catalog.rounds.get(round_id)
    start, data = opened(ws, round_id), ws.catalog.steps.result(round_id, "import_data")
    typed = [
        ("tr", data["training"]),
        ("va", data["validation"]),
        ("tr", data["new_data"]),
        (split_of_labels(ws, start["labels"]), start["labels"]),
    ]
    merged = _merged_before(ws, round_) if start["training"] else set()
    guests = [f"{split}:{commit}" for split, commit in typed if commit and commit not in merged]
    return start["training"], list(dict.fromkeys(guests))


def split_of_labels(ws: Workspace, labels: str | None) -> str:
    """`tr`, or nothing where some of these images are kept for validation: each says itself."""
    kept = labels is not None and ws.store.read_commit_version(labels).stats.splits.get("val")
    return "" if kept else "tr"


def _refuse_frozen(ws: Workspace, guests: list[str]) -> None:
    """Before the training branch has them, which every later round would start from."""
    for guest in guests:
        version = ws.store.read(guest.partition(":")[2])
        refuse_frozen_images(
            ws.store,
            version,
            of=f"commit {version.id[:12]} ({version.commit.message})",
            hint="Take them out of the project's sources: images are the same when their bytes are",
        )


def _sources(round_: Round, sharing_dir: Path | None) -> list[Source]:
    names, where = Branches(round_.project_key), round_.spec.sources
    new_data = round_.conf.get("new_data")
    labelled = {"training": where.training, "validation": where.validation}
    found = [
        Source(role=role, branch=names.imported(role), path=Path(path), annotations="voc")
        for role, path in labelled.items()
        if path is not None
    ]
    found.append(
        Source(role="pool", branch=names.imported("pool"), path=Path(where.pool),
               annotations="none")
    )  # fmt: skip
    if new_data:
        found.append(
            # Who starts a run is not who set this machine up: any path would be too much.
            Source(role="new_data", branch=names.imported("training"), annotations="voc",
                   path=shared_path(new_data, sharing_dir), inside=sharing_dir)
        )  # fmt: skip
    return found


def _digest(source: Source) -> str:
    if not source.path.exists():
        raise NotFoundError(
            f"The {source.role.replace('_', ' ')} source `{source.path}` does not exist",
            code="no-such-source",
            hint="Correct the path, and see that this worker can read it",
        )
    with open_files(source.path, inside=source.inside) as files:
        return files.digest()


def _import(
    entry: Entry,
    source: Source,
    digest: str,
    taken: Mapping[str, Any],
    follow: Callable[[float, str], None],
) -> dict[str, Any]:
    with open_files(source.path, inside=source.inside) as files:
        result = import_dataset(
            entry.ws.store,
            files,
            source.branch,
            op_id=_import_operation(entry, source, digest),
            annotations=source.annotations,
            unknown_classes="stop",
            taxonomy=_declared(entry, source.branch),
            message=f"Import {source.role.replace('_', ' ')} of {entry.round.project}",
            on_progress=follow,
            **entry.provenance,
        )
    issues = {issue.code: issue.count for issue in result.report.issues}
    return {
        source.role: result.commit.id,
        "images": {**taken["images"], source.role: result.report.taken.get("images", 0)},
        "issues": {**taken["issues"], **({source.role: issues} if issues else {})},
    }


def _follower(entry: Entry, role: str, position: int, total: int) -> Callable[[float, str], None]:
    """Passes the progress of one import on, at most once for each percent."""
    shown = -1

    def follow(share: float, message: str) -> None:
        nonlocal shown
        percent = 100 * (position + share) / total
        if int(percent) > shown:
            shown = int(percent)
            entry.progress(percent, f"{role.replace('_', ' ')}: {message}")

    return follow


def _import_operation(entry: Entry, source: Source, digest: str) -> str:
    """Of the project and the bytes, not of the run: importing again is the same operation."""
    return operation_id(
        f"{entry.place.deployment}/{entry.round.project_key}/import",
        {
            "branch": source.branch,
            "source": digest,
            "annotations": source.annotations,
            "classes": list(entry.round.spec.classes),
        },
    )


def _declared(entry: Entry, branch: str) -> Taxonomy:
    """The project's classes, and those that the branch already knows."""
    store, names = entry.ws.store, entry.round.spec.classes
    registry = store.register_classes(names)
    wanted = Taxonomy.from_names({name: registry[name] for name in names})
    tip = store.branch(branch).find_tip()
    return store.read(tip).taxonomy.joined(wanted) if tip else wanted


def _merged_before(ws: Workspace, round_: Round) -> set[str]:
    merged: set[str] = set()
    for earlier in earlier_rounds(ws, round_):
        for step in ("merge_training", "merge_labels"):
            found = ws.catalog.steps.find(earlier.id, step)
            if found is not None and found.state == "done" and found.result is not None:
                merged.update(found.result["merged"])
    return merged
