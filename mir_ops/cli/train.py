"""`mir train`: a dataset version becomes a model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mir_ops.cli.jobs import (
    Call,
    add_job,
    add_sources_to_merge,
    read_call,
    taxonomy_of,
    tidy,
)
from mir_ops.cli.operations import add_destination, say_done
from mir_ops.cli.output import Output
from mir_ops.errors import InvalidInputError

if TYPE_CHECKING:
    from mir_ops.catalog import Package
    from mir_ops.executor.jobs import Job
    from mir_ops.executor.tasks import Order
    from mir_ops.store import Commit


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "train",
        help="Train a model on a dataset version",
        description="Train on the images of split `training`, measured on `validation`. The "
        "model's id and its stages are printed; `-w` keeps the executor's logs.",
    )
    add_sources_to_merge(parser)
    add_destination(parser)
    add_job(parser)
    parser.add_argument("--model-hash", metavar="ID[@STAGE]", help="Start from this model")
    parser.add_argument("--tensorboard-dir", metavar="DIR", help="Copy TensorBoard's files here")
    parser.set_defaults(run=run_train)


def run_train(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.executor.tasks import train_model

    call = read_call(arguments, "train", output)
    class_names, start = _class_names(call), call.model

    def work(order: Order) -> tuple[Commit, Package, Job]:
        return train_model(
            call.asked.desk, order, call.version, class_names=class_names, start=start
        )

    inputs = {"classes": class_names, "start": start.name if start else None}
    done, ran = call.once("train", f"Train {call.asked.image.name}", inputs, work)
    model = done.commit.operation.parameters
    lines = _lines(model)
    extra: dict[str, Any] = {name: model[name] for name in ("model", "best_stage", "stages")}
    if arguments.model_location:
        extra["file"] = _write_package(call, model["model"])
        lines.append(f"Package: {extra['file']}")
    if ran:
        _copy_tensorboard(arguments, ran[1])
        tidy(arguments, ran[1])
    say_done(output, done, extra, lines)
    return 0


def _class_names(call: Call) -> list[str]:
    """Those of the settings; where they name none, all that the version knows."""
    asked = call.asked.file.class_names
    if not asked:
        return list(call.version.taxonomy.names)
    taxonomy = taxonomy_of(call)
    unknown = [name for name in asked if taxonomy.id_of(name) is None]
    if unknown:
        listed = ", ".join(f"`{name}`" for name in unknown)
        raise InvalidInputError(
            f"Classes that the project does not know: {listed}",
            code="unknown-class",
            hint=f"`class_names` is a subset of: {', '.join(taxonomy.names) or 'nothing yet'}",
        )
    return list(asked)


def _lines(model: Any) -> list[str]:
    lines = [f"Model: {model['model']}"]
    for name, metrics in model["stages"].items():
        told = ", ".join(f"{metric} {value:.4g}" for metric, value in metrics.items())
        best = " (best)" if name == model["best_stage"] else ""
        lines.append(f"Stage: {name}{best}: {told}")
    return lines


def _write_package(call: Call, model_id: str) -> str:
    from mir_ops.executor.models import choose_model, export_model

    folder = Path(call.arguments.model_location).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    workspace = call.repository.workspace
    return str(export_model(workspace, choose_model(workspace, model_id).package, folder))


def _copy_tensorboard(arguments: argparse.Namespace, job: Job) -> None:
    from mir_ops.executor.models import copy_tensorboard

    if arguments.tensorboard_dir:
        copy_tensorboard(job.outputs / "tensorboard", Path(arguments.tensorboard_dir))
