"""Models from packages, and how good they are, as a run asks for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.tasks.asking import Task, naming, read_version
from mir_ops.tasks.jobs import told

if TYPE_CHECKING:
    from mir_ops.evaluation.versions import Settings
    from mir_ops.executor.classes import Unknown
    from mir_ops.workspace import Workspace

_UNKNOWN_HINT: Final = (
    "Set `unknown_classes` to `ignore`, which takes the model as it is, or to `add`, which "
    "registers them"
)


def import_shared_model(
    ws: Workspace, source: str, *, unknown: Unknown = "stop", promote: str | None = None
) -> dict[str, Any]:
    """Take the package in the sharing folder or at a URL; the same package is the same model."""
    from mir_ops.dataset.sharing import shared_file
    from mir_ops.executor.models import choose_model, import_model, promote_model

    known = sorted(ws.store.classes()) if unknown == "stop" else None
    with ExitStack() as stack:
        with naming("path"):
            path = stack.enter_context(shared_file(source, ws))
        try:
            package = import_model(ws, path, project_classes=known)
        except InvalidInputError as error:
            if error.code != "other-classes":
                raise
            message = f"`unknown_classes`: {error}"
            raise InvalidInputError(message, code=error.code, hint=_UNKNOWN_HINT) from None
    if unknown == "add":
        ws.store.register_classes(list(package.classes))
    if promote:
        with naming("promote"):
            promote_model(ws, choose_model(ws, package.model_id), promote)
    return {
        "model": package.model_id,
        "stages": {name: dict(metrics) for name, metrics in package.stages.items()},
        "best_stage": package.best_stage,
        "class_names": list(package.classes),
        "promoted": promote,
    }


def evaluate_dataset(
    task: Task,
    *,
    dataset: str,
    model: str | None,
    settings: Settings,
    ground_truth: str | None = None,
    classes: Sequence[str] = (),
    split: str | None = None,
) -> dict[str, Any]:
    """Measure predictions against the ground truth; the marks of all boxes are a new version."""
    from mir_ops.evaluation.materials import classes_named, find_layer, read_material
    from mir_ops.evaluation.versions import commit_marks, evaluate_material

    store = task.ws.store
    if done := store.find_operation(task.branch, task.op_id):
        # The same commits, whatever their branches have become: the same numbers.
        ground_truth, dataset = done.operation.inputs[0], done.operation.inputs[-1]
    found = read_version(task.ws, dataset)
    truth = read_version(task.ws, ground_truth, param="ground_truth") if ground_truth else found
    with naming("classes"):
        chosen = classes_named(truth, classes)
    with naming("model", hint="Say which executor predicts, or which model's predictions count"):
        layer = find_layer(found, _model_id(task.ws, model) if model else None)
    material = read_material(
        truth,
        found,
        layer=layer,
        classes=chosen,
        split=split,
        shapes=settings.masks or settings.semantic,
    )
    evaluation = evaluate_material(material, settings)
    commit = commit_marks(
        store,
        truth,
        material,
        evaluation,
        branch=task.branch,
        op_id=task.op_id,
        message=f"Evaluate {material.origin.layer}",
        **task.provenance,
    )
    return {**told(task, commit), **_numbers(evaluation.report)}


def _model_id(ws: Workspace, name: str) -> str:
    """The id that the model's predictions go by; those that were imported have a name alone."""
    from mir_ops.executor.models import choose_model

    try:
        return choose_model(ws, name).package.model_id
    except NotFoundError:
        return name


def _numbers(report: Mapping[str, Any]) -> dict[str, Any]:
    """Of the report what people ask for first; the marks of single boxes are in the version."""
    per_class = report["metrics"]["per_class"]
    found = {name: report[name] for name in ("masks", "semantic", "voc") if name in report}
    return {"per_class": {name: each["ap50"] for name, each in per_class.items()}, **found}
