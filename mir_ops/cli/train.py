"""`mir train`: a dataset version becomes a model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mir_ops.cli.jobs import (
    Asked,
    add_job,
    add_sources_to_merge,
    find_model,
    inputs_of,
    make_order,
    read_asked,
    read_source,
    tidy,
)
from mir_ops.cli.operations import (
    add_destination,
    commit_once,
    destination_of,
    repository_of,
    say_done,
)
from mir_ops.cli.output import Output
from mir_ops.errors import InvalidInputError

if TYPE_CHECKING:
    from mir_ops.cli.repository import Repository
    from mir_ops.executor.jobs import Job
    from mir_ops.store import Commit, Version


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

    repository = repository_of(arguments)
    destination = destination_of(arguments)
    asked = read_asked(arguments, repository, "train", output)
    start = (
        find_model(arguments, repository, arguments.model_hash) if arguments.model_hash else None
    )
    version = read_source(arguments, repository, destination)
    class_names = _class_names(asked, repository, version)
    store = repository.store
    jobs: list[Job] = []

    def commit(op_id: str) -> Commit:
        if done := store.find_operation(destination.branch, op_id):
            return done
        order = make_order(asked, arguments, destination.branch, op_id, f"Train {asked.image.name}")
        made, _, job = train_model(asked.desk, order, version, class_names=class_names, start=start)
        jobs.append(job)
        return made

    done = commit_once(
        repository,
        destination,
        "train",
        inputs_of(asked, version, classes=class_names, start=start.name if start else None),
        commit,
    )
    model = done.commit.operation.parameters
    lines = _lines(model)
    extra: dict[str, Any] = {name: model[name] for name in ("model", "best_stage", "stages")}
    if arguments.model_location:
        extra["file"] = _write_package(arguments, repository, model["model"])
        lines.append(f"Package: {extra['file']}")
    for job in jobs:
        _copy_tensorboard(arguments, job)
        tidy(arguments, job)
    say_done(output, done, extra, lines)
    return 0


def _class_names(asked: Asked, repository: Repository, version: Version) -> list[str]:
    """Those of the settings; without settings all that the version knows."""
    declared = repository.declared_classes()
    taxonomy = version.taxonomy if declared is None else declared.over(version.taxonomy)
    if asked.file.class_names is None:
        return list(version.taxonomy.names)
    unknown = [name for name in asked.file.class_names if taxonomy.id_of(name) is None]
    if unknown:
        listed = ", ".join(f"`{name}`" for name in unknown)
        raise InvalidInputError(
            f"Classes that the project does not know: {listed}",
            code="unknown-class",
            hint=f"`class_names` is a subset of: {', '.join(taxonomy.names) or 'nothing yet'}",
        )
    return list(asked.file.class_names)


def _lines(model: Any) -> list[str]:
    lines = [f"Model: {model['model']}"]
    for name, metrics in model["stages"].items():
        told = ", ".join(f"{metric} {value:.4g}" for metric, value in metrics.items())
        best = " (best)" if name == model["best_stage"] else ""
        lines.append(f"Stage: {name}{best}: {told}")
    return lines


def _write_package(arguments: argparse.Namespace, repository: Repository, model_id: str) -> str:
    from mir_ops.executor.models import choose_model, export_model

    folder = Path(arguments.model_location).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    chosen = choose_model(repository.workspace, model_id)
    return str(export_model(repository.workspace, chosen.package, folder))


def _copy_tensorboard(arguments: argparse.Namespace, job: Job) -> None:
    from mir_ops.executor.models import copy_tensorboard

    if arguments.tensorboard_dir:
        copy_tensorboard(job.outputs / "tensorboard", Path(arguments.tensorboard_dir))
