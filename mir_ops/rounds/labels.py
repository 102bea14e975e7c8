"""Labels: ask for them, follow, import what is done, merge."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.catalog import Round
from mir_ops.dataset import merge
from mir_ops.errors import MirError, NotFoundError
from mir_ops.labeling import (
    LabelBackend,
    LabelProgress,
    LabelRequest,
    LabelResult,
    ShowsImages,
)
from mir_ops.labeling.addresses import find_addresses, wake_url
from mir_ops.labeling.following import digest_of, follow, noted, read_guide, seconds_of
from mir_ops.rounds.candidates import without
from mir_ops.rounds.importing import split_of_labels
from mir_ops.rounds.ledger import Entry, new_entry, once
from mir_ops.rounds.opening import earlier_rounds, opened
from mir_ops.rounds.place import Place
from mir_ops.rounds.starting import splits_of
from mir_ops.store import Operation
from mir_ops.store.schema import ASSET_ID, PREDICTIONS
from mir_ops.workspace import Workspace


def create_label_task(
    ws: Workspace, place: Place, round_id: int, backend: LabelBackend
) -> dict[str, Any]:
    """Ask the backend for labels of the mined images; the same request is asked once.

    Nobody is asked where nothing was picked, or where the run says so.
    """
    mined = ws.catalog.steps.result(round_id, "mine")
    inputs = {"mined": mined["commit"], "backend": backend.kind}
    if skipped := ws.catalog.rounds.get(round_id).conf.get("label") is False:
        inputs["label"] = False

    def work(entry: Entry) -> dict[str, Any]:
        if skipped or not mined["picked"]:
            return {"task": None, "backend": backend.kind, "requested": 0, "op_id": entry.op_id}
        request = _request(ws, entry.round, entry.op_id, mined)
        task = backend.create(replace(request, guide=_guide(entry.round.spec.labels.guide)))
        ws.catalog.label_tasks.add(
            round_id=round_id,
            op_id=entry.op_id,
            backend=backend.kind,
            external_id=task,
            requested=mined["picked"],
        )
        return {
            "task": task,
            "backend": backend.kind,
            "requested": mined["picked"],
            "op_id": entry.op_id,
        }

    return once(new_entry(ws, place, round_id, "create_label_task", inputs), work)


def label_progress(ws: Workspace, round_id: int, backend: LabelBackend) -> LabelProgress:
    """How far people are, also written into the catalog.

    A request for no images is complete.
    """
    asked = ws.catalog.steps.result(round_id, "create_label_task")
    if asked["task"] is None:
        return LabelProgress(total=0, done=0, message="Nothing to label")
    request = _asked(ws, round_id)
    progress = follow(backend, asked["task"], request, clear="create_label_task")
    ws.catalog.label_tasks.update(asked["op_id"], **noted(progress))
    _follow(ws, round_id, asked["op_id"], progress)
    return progress


def renew_addresses(ws: Workspace, round_id: int, backend: LabelBackend) -> int:
    """See to it that people's browsers can load the images for another while; of how many."""
    asked = ws.catalog.steps.result(round_id, "create_label_task")
    if asked["task"] is None or not isinstance(backend, ShowsImages):
        return 0
    find = _asked(ws, round_id).find_addresses
    return 0 if find is None else backend.renew_addresses(asked["task"], find)


def labels_ready(ws: Workspace, round_id: int, backend: LabelBackend) -> bool:
    """Whether nothing is left to wait for."""
    asked = ws.catalog.steps.result(round_id, "create_label_task")
    return asked["task"] is None or label_progress(ws, round_id, backend).complete


def import_labels(
    ws: Workspace, place: Place, round_id: int, backend: LabelBackend
) -> dict[str, Any]:
    """Commit the ground truth of what is done. More labels later are a new operation."""
    asked = ws.catalog.steps.result(round_id, "create_label_task")
    mined = ws.catalog.steps.result(round_id, "mine")
    result = None
    if asked["task"] is not None:
        result = backend.fetch(asked["task"], _asked(ws, round_id))
    inputs = {"task": asked["task"], "labels": digest_of(result) if result else None}

    def work(entry: Entry) -> dict[str, Any]:
        _stop_waiting(ws, round_id)
        if result is None:
            return {"commit": None, "done": 0, "skipped": 0, "boxes": 0, "seconds": 0.0,
                    "issues": {}, "answers": None}  # fmt: skip
        return {
            "commit": _commit(entry, mined["commit"], result, backend.kind),
            "done": len(result.done),
            "skipped": len(result.skipped),
            "boxes": result.annotations.num_rows,
            "seconds": seconds_of(result),
            "issues": dict(result.issues),
            "answers": _keep_answers(ws, result),
        }

    return once(new_entry(ws, place, round_id, "import_labels", inputs), work)


def merge_labels(ws: Workspace, place: Place, round_id: int) -> dict[str, Any]:
    """Merge this round's labels into the training version."""
    training = ws.catalog.steps.result(round_id, "merge_training")["commit"]
    labels = ws.catalog.steps.result(round_id, "import_labels")["commit"]
    inputs = {"training": training, "labels": labels}

    def work(entry: Entry) -> dict[str, Any]:
        if labels is None:
            return {"commit": training, "merged": []}
        branch = entry.branches.training
        commit = ws.store.find_operation(branch, entry.op_id) or merge(
            ws.store,
            [*([training] if training else []), f"{split_of_labels(ws, labels)}:{labels}"],
            branch,
            strategy="guest",
            op_id=entry.op_id,
            message=f"Round {entry.round.number}: merge the labels",
            **entry.provenance,
        )
        return {"commit": commit.id, "merged": [labels]}

    return once(new_entry(ws, place, round_id, "merge_labels", inputs), work)


def close_label_tasks(ws: Workspace, round_id: int, backend: LabelBackend) -> list[int]:
    """Tell the tool that these requests are over, each once; the rounds that have one.

    Its answers are in the store: a tool that is away or has lost the task holds up no round. What
    it could not be told stays open in the catalog, and it is told with the next round's end.
    """
    round_ = ws.catalog.rounds.get(round_id)
    told = []
    for each in [*earlier_rounds(ws, round_), round_]:
        for task in ws.catalog.label_tasks.list(each.id):
            if task.state == "closed" or task.backend != backend.kind:
                continue
            told.append(each.id)
            try:
                backend.close(task.external_id)
            except NotFoundError:
                ws.catalog.label_tasks.update(task.op_id, state="closed", message="lost")
            except MirError as error:
                ws.catalog.label_tasks.update(task.op_id, message=f"Not closed: {error}")
            else:
                ws.catalog.label_tasks.update(task.op_id, state="closed")
    return told


def _follow(ws: Workspace, round_id: int, op_id: str, progress: LabelProgress) -> None:
    """Show the waiting as a step of the round; what was waited out before stays so."""
    steps, step = ws.catalog.steps, "wait_for_labels"
    found = steps.find(round_id, step)
    if found is None or found.op_id != op_id:
        steps.start(round_id, step, op_id)
    elif found.state == "done":
        return
    answered = {"total": progress.total, "done": progress.done, "skipped": progress.skipped}
    if progress.complete:
        steps.finish(round_id, step, op_id, answered)
        return
    percent = 100.0 * (progress.done + progress.skipped) / progress.total
    steps.progress(round_id, step, op_id, percent=percent, message=str(progress))


def _stop_waiting(ws: Workspace, round_id: int) -> None:
    """The wait is over when labels are taken, also when some are missing.

    Whoever clears it waits again, whatever was said to be enough before.
    """
    for task in ws.catalog.label_tasks.list(round_id):
        ws.catalog.label_tasks.update(task.op_id, enough_at=None)
    found = ws.catalog.steps.find(round_id, "wait_for_labels")
    if found is not None and found.state != "done":
        ws.catalog.steps.finish(round_id, found.step, found.op_id, {"partial": True})


def _asked(ws: Workspace, round_id: int) -> LabelRequest:
    """The request of a round, as it was made."""
    op_id = ws.catalog.steps.result(round_id, "create_label_task")["op_id"]
    mined = ws.catalog.steps.result(round_id, "mine")
    return _request(ws, ws.catalog.rounds.get(round_id), op_id, mined)


def _request(ws: Workspace, round_: Round, op_id: str, mined: Mapping[str, Any]) -> LabelRequest:
    version, spec, ids = ws.store.read(mined["commit"]), round_.spec, ws.store.classes()
    model_id = mined["model_id"] or ""
    seen = version.layer(f"predictions:{model_id}") if model_id else PREDICTIONS.empty_table()
    return LabelRequest(
        key=op_id,
        title=f"{round_.project} round {round_.number}",
        classes={ids[name]: name for name in spec.label_classes},
        assets=version.assets(),
        predictions=seen.filter(pc.greater_equal(seen["confidence"], spec.labels.confidence)),
        fetch_image=ws.store.fetch_blob,
        find_addresses=find_addresses(ws, round_.project_key, version),
        model_id=model_id,
        shapes=spec.labels.shapes,
        annotators=spec.labels.annotators,
        wake_url=wake_url(ws, op_id),
    )


def _guide(guide: str | None) -> str:
    """The text of a guide's file, or the address of its page."""
    if guide is None or guide.startswith(("http://", "https://")):
        return guide or ""
    return read_guide(Path(guide))


def _commit(entry: Entry, mined: str, result: LabelResult, backend: str) -> str | None:
    store = entry.ws.store
    if len(result.done) == 0:
        return None
    if (found := store.find_operation(entry.branches.labels, entry.op_id)) is not None:
        return found.id
    version = store.read(mined)
    with store.edit(
        entry.branches.labels,
        op_id=entry.op_id,
        operation=Operation(
            kind="label",
            parameters={"backend": backend, "images": len(result.done)},
            inputs=(mined,),
        ),
        message=f"Round {entry.round.number}: {len(result.done)} images labelled",
        **entry.provenance,
    ) as edit:
        edit.put_taxonomy(version.taxonomy)
        stale, fresh = _stale_and_fresh(entry, result.done)
        if len(stale):
            edit.remove_assets(stale)
        if len(fresh):
            edit.put_assets(splits_of(entry.ws, entry.round.id, version.assets(ids=fresh)))
        edit.put_layer("ground_truth", result.annotations, assets=result.done)
    return edit.commit.id


def _stale_and_fresh(entry: Entry, done: pa.Array) -> tuple[pa.Array, pa.Array]:
    """What lies on the branch from labels that never passed their gate; what is new to it."""
    store = entry.ws.store
    tip = store.branch(entry.branches.labels).find_tip()
    if tip is None:
        return pa.array([], ASSET_ID), done
    accepted = opened(entry.ws, entry.round.id)["labels"]
    there = store.read(tip).asset_ids()
    kept = [done, *([store.read(accepted).asset_ids()] if accepted else [])]
    return without(there, kept), without(done, [there])


def read_answers(ws: Workspace, answers: str | None) -> dict[str, pa.Array]:
    """Which images people labelled (`done`) and which they skipped: sorted asset ids."""
    kept = json.loads(ws.store.get_blob(answers)) if answers else {"done": [], "skipped": []}
    return {
        name: pa.array([bytes.fromhex(one) for one in ids], ASSET_ID) for name, ids in kept.items()
    }


def _keep_answers(ws: Workspace, result: LabelResult) -> str:
    kept = {
        name: sorted(one.hex() for one in ids.to_pylist())
        for name, ids in (("done", result.done), ("skipped", result.skipped))
    }
    return ws.store.put_blob(json.dumps(kept, sort_keys=True).encode())
