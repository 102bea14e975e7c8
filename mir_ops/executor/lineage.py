"""What a model has learnt from, as far as this workspace knows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.evaluation.frozen import refuse_frozen

if TYPE_CHECKING:
    from mir_ops.catalog import Package
    from mir_ops.executor.models import ChosenModel
    from mir_ops.store import Version
    from mir_ops.workspace import Workspace


def refuse_frozen_start(ws: Workspace, start: ChosenModel) -> None:
    """Refuse to go on from a model that has learnt from an image of a frozen test set.

    Its own training counts, and those of the models that it came from. Of a model that was
    trained elsewhere nothing is known.
    """
    for package, version in _trained_on(ws, start.package):
        try:
            refuse_frozen(ws.store, version)
        except InvalidInputError as error:
            raise InvalidInputError(
                f"Model `{package.model_id[:12]}` has learnt from a frozen test set: {error}",
                code=error.code,
                hint="Start from another model, or from none",
            ) from None


def _trained_on(ws: Workspace, package: Package | None) -> Iterator[tuple[Package, Version]]:
    seen: set[str] = set()
    while package is not None and package.model_id not in seen:
        seen.add(package.model_id)
        training, before = package.origin.get("training"), package.origin.get("started_from")
        if isinstance(training, str) and (version := _version(ws, training)):
            yield package, version
        package = ws.catalog.packages.find(str(before).partition("@")[0]) if before else None


def _version(ws: Workspace, commit: str) -> Version | None:
    try:
        return ws.store.read_commit_version(commit)
    except NotFoundError:
        return None  # the model was copied here, its training set was not
