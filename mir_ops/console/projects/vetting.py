"""What a project may ask for when it does not come from the shell's user."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException

from mir_ops.catalog import ProjectSpec
from mir_ops.dataset.sharing import shared_path
from mir_ops.errors import InvalidInputError
from mir_ops.formats.indexes import INDEX_SUFFIXES


def vet_project(
    before: ProjectSpec | None, after: ProjectSpec, *, sharing_dir: Path | None, publishes: bool
) -> None:
    """Refuse paths out of the sharing folder, executors that nobody registered, and rule files.

    What the project had before, it may keep. Only who `publishes` says which name models get.
    """
    known = dict(_paths(before)) if before else {}
    for key, path in _paths(after):
        if path != known.get(key):
            _vet_path(key, shared_path(path, sharing_dir))
    _vet_executor(before, after)
    if after.gates.rules not in (None, before.gates.rules if before else None):
        raise InvalidInputError(
            "`gates.rules` names files with code, which takes the shell",
            code="rules-by-shell",
            hint="Apply it with `mir project apply`; `gates.parameters` may be said here",
        )
    promoted = (after.promote, after.approve_model)
    if not publishes and promoted != (
        (before.promote, before.approve_model) if before else (None, False)
    ):
        raise HTTPException(403, "`promote` and `approve_model` are an admin's to say")


def _paths(spec: ProjectSpec) -> Iterator[tuple[str, str]]:
    """The data and texts that the project names."""
    for role, path in spec.sources.model_dump().items():
        if path is not None:
            yield f"sources.{role}", str(path)
    guide = spec.labels.guide
    if guide is not None and urlsplit(guide).scheme not in ("http", "https"):
        yield "labels.guide", guide


def _vet_path(key: str, path: Path) -> None:
    if key != "labels.guide" and path.suffix.lower() in INDEX_SUFFIXES and not path.is_dir():
        raise InvalidInputError(
            f"`{key}` is a list of files, which may be anywhere",
            code="index-by-shell",
            hint="Name a folder or an archive in the sharing folder",
        )


def _vet_executor(before: ProjectSpec | None, after: ProjectSpec) -> None:
    plain = {"image", "folder", "network", "run_as_root", "protocol"}
    asked = after.executor.model_dump(include=plain)
    had = before.executor.model_dump(include=plain) if before else {}
    same_name = before is not None and before.executor.name == after.executor.name
    if any(asked.values()) and not (same_name and asked == had):
        raise InvalidInputError(
            f"Executor `{after.executor.name}` is described here, which takes the shell",
            code="executor-by-name",
            hint="Register it with `mir executor add`, and name it as `executor: {name: …}`",
        )
