"""A project's training version: there from the start, and empty until something is labelled."""

from __future__ import annotations

from mir_ops.catalog import Catalog
from mir_ops.errors import InvalidInputError
from mir_ops.rounds.place import Branches
from mir_ops.store import Commit, Operation, Store, operation_id


def begin_training(store: Store, key: str) -> None:
    """Start the training branch of a project, unless it is there; also twice at once."""
    branch = store.branch(Branches(key).training)
    if branch.exists:
        return
    with store.edit(
        branch.name,
        op_id=operation_id(f"project/{key}", {"branch": branch.name, "seq": branch.seq}),
        operation=Operation(kind="branch"),
        message=f"Start the training data of {key}",
        project=key,
    ):
        pass


def find_training(store: Store, key: str) -> Commit | None:
    """The newest training version of a project, or None as long as it is empty."""
    tip = store.branch(Branches(key).training).find_tip()
    return tip if tip is not None and tip.stats.assets else None


def refuse_training(catalog: Catalog, branch: str) -> None:
    """Refuse to take away a branch that is the training data of a project which lives."""
    key = branch.partition("/")[0]
    if branch != Branches(key).training:
        return
    project = catalog.projects.find(key)
    if project is not None and project.key == key:
        raise InvalidInputError(
            f"The branch `{branch}` cannot be deleted: it is the training data of project "
            f"`{project.name}`",
            code="branch-in-use",
            hint=f"Delete the project first: `mir project delete {project.name}` keeps all data",
        )
