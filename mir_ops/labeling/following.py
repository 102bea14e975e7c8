"""What holds for every request of labels: how far it is, and what its answers are."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.labeling.backend import LabelBackend, LabelProgress, LabelRequest, LabelResult

_LONGEST_GUIDE: Final = 1 << 18
_TOLD: Final = 3  # answers that cannot be taken, in a message


def follow(
    backend: LabelBackend, task_id: str, request: LabelRequest, *, clear: str
) -> LabelProgress:
    """How far people are. A task that lost its images is an error, whose hint names `clear`.

    When everything is answered the answers are looked at: one that cannot be taken is not done.
    """
    progress, requested = backend.progress(task_id), request.assets.num_rows
    if progress.total < requested:
        raise NotFoundError(
            f"Label task `{task_id}` has {progress.total} of {requested} images",
            code="label-task-lost",
            hint=f"Restore the task in the label tool, or clear `{clear}`",
        )
    if progress.complete:
        return _without_refused(progress, backend.fetch(task_id, request))
    return progress


def noted(progress: LabelProgress) -> dict[str, Any]:
    """What the catalog keeps of it."""
    return {
        "state": "done" if progress.complete else "open",
        "done": progress.done,
        "skipped": progress.skipped,
        "message": progress.message or None,
        "by": dict(progress.by),
        "page": progress.page,
        "last_activity": progress.last_activity,
    }


def read_guide(path: Path) -> str:
    """The text of a guide's file."""
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST_GUIDE + 1)
        if len(content) > _LONGEST_GUIDE:
            raise ValueError(f"it is longer than {_LONGEST_GUIDE >> 10} kB")
        return content.decode()
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"Cannot read the label guide `{path}`: {error}",
            code="label-guide",
            hint="Name a UTF-8 text file, or the address of a page",
        ) from None


def digest_of(result: LabelResult) -> str:
    """Of what was answered: the same answers are the same operation."""
    table = result.annotations.sort_by(
        [("asset_id", "ascending"), ("annotation_id", "ascending")]
    ).combine_chunks()
    digest = hashlib.sha256()
    for ids in (result.done, result.skipped):
        digest.update(b"%d:" % len(ids))
        digest.update(b"".join(sorted(ids.to_pylist())))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    digest.update(sink.getvalue())
    return digest.hexdigest()


def seconds_of(result: LabelResult) -> float:
    """What people spent on it."""
    if result.seconds is not None:
        return round(result.seconds, 3)
    return round(float(pc.sum(result.annotations["lead_time"]).as_py() or 0.0), 3)


def _without_refused(progress: LabelProgress, result: LabelResult) -> LabelProgress:
    """What was answered and cannot be taken is still to do, and people are told why."""
    if not result.refused:
        return progress
    told = "; ".join(list(result.refused.values())[:_TOLD])
    count = len(result.refused)
    message = f"{count} {'answer' if count == 1 else 'answers'} cannot be taken: {told}"
    return replace(progress, done=max(0, progress.done - count), message=message)
