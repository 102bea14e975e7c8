"""`mir infer`: what a model finds on images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mir_ops.cli.jobs import (
    add_job,
    add_sources_to_merge,
    add_unknown_classes,
    class_ids_of,
    find_model,
    read_asked,
    read_call,
    tidy,
)
from mir_ops.cli.operations import add_destination, repository_of, say_done
from mir_ops.cli.output import Output
from mir_ops.errors import InvalidInputError

if TYPE_CHECKING:
    from mir_ops.executor.inference import InferenceReport
    from mir_ops.executor.jobs import Job
    from mir_ops.executor.tasks import Order
    from mir_ops.store import Commit


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "infer",
        help="Predict on images with a model",
        description="With `--src-revs` and `--dst-rev` the predictions become a layer of a new "
        "version. With `--index-file` they are written to `out/infer-result.json` below `-w`.",
    )
    add_sources_to_merge(parser)
    add_destination(parser)
    add_job(parser)
    add = parser.add_argument
    add("--model-hash", required=True, metavar="ID[@STAGE]", help="The model (and its stage)")
    add("--index-file", metavar="FILE", help="List of image paths, one a line")
    add_unknown_classes(parser)
    parser.set_defaults(run=run_infer)


def run_infer(arguments: argparse.Namespace, output: Output) -> int:
    if arguments.index_file:
        return _run_on_files(arguments, output)
    from mir_ops.executor.tasks import infer

    call = read_call(arguments, "infer", output)
    model, class_ids = call.predictor, class_ids_of(call)

    def work(order: Order) -> tuple[Commit, InferenceReport, Job]:
        return infer(call.asked.desk, order, call.version, model, class_ids)

    message = f"Predict with {model.package.model_id[:12]}@{model.stage}"
    done, ran = call.once("infer", message, {"model": model.name, "classes": class_ids}, work)
    report, job = ran or (None, None)
    tidy(arguments, job)
    extra = {
        "model": model.package.model_id,
        "stage": model.stage,
        "predictions": report.to_dict() if report else None,
    }
    say_done(output, done, extra, report.lines() if report else [])
    return 0


def _run_on_files(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.executor.pictures import predict_on_files

    repository = repository_of(arguments)
    if not arguments.work_dir:
        raise InvalidInputError(
            "No folder for the result is given",
            code="no-work-dir",
            hint="Add `-w DIR`: `out/infer-result.json` is written there",
        )
    model = find_model(arguments, repository, arguments.model_hash)
    asked = read_asked(
        arguments, repository, "infer", output, object_type=model.package.object_type
    )
    target = Path(arguments.work_dir).absolute() / "out" / "infer-result.json"
    found = predict_on_files(
        asked.desk, asked.image, model, asked.file.config, index_file=Path(arguments.index_file)
    )
    found.write(target)
    output.record(
        {"file": str(target), **found.report.to_dict(), "images": len(found.pictures)},
        [f"Written: {target}", *found.report.lines()],
    )
    return 0
