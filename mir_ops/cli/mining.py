"""`mir mining`: the images that are worth labelling most, by what a model makes of them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from mir_ops.cli.jobs import (
    add_job,
    add_sources_to_merge,
    add_unknown_classes,
    class_ids_of,
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

if TYPE_CHECKING:
    from mir_ops.executor.inference import InferenceReport
    from mir_ops.executor.jobs import Job
    from mir_ops.store import Commit


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "mining",
        help="Keep the images that a model finds most worth labelling",
        description="Score every image with a model, and keep the highest; the scores stay with "
        "the version. `--add-prediction` also keeps what the model found on them.",
    )
    add_sources_to_merge(parser)
    add_destination(parser)
    add_job(parser)
    add = parser.add_argument
    add("--model-hash", required=True, metavar="ID[@STAGE]", help="The model (and its stage)")
    add("--topk", type=int, required=True, metavar="N", help="How many images to keep")
    add("--add-prediction", action="store_true", help="Keep the model's predictions as a layer")
    add_unknown_classes(parser)
    parser.set_defaults(run=run_mining)


def run_mining(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.executor.tasks import check_top, mine

    check_top(arguments.topk)
    repository = repository_of(arguments)
    destination = destination_of(arguments)
    model = find_model(arguments, repository, arguments.model_hash)
    asked = read_asked(arguments, repository, "mine", output, object_type=model.package.object_type)
    version = read_source(arguments, repository, destination)
    class_ids = class_ids_of(arguments, repository, version, model)
    store = repository.store
    jobs: list[Job] = []
    reports: list[InferenceReport] = []

    def commit(op_id: str) -> Commit:
        if done := store.find_operation(destination.branch, op_id):
            return done
        message = f"Keep {arguments.topk} images that {asked.image.name} scored highest"
        order = make_order(asked, arguments, destination.branch, op_id, message)
        made, report, job = mine(
            asked.desk,
            order,
            version,
            model,
            class_ids,
            top=arguments.topk,
            predict=arguments.add_prediction,
        )
        jobs.append(job)
        reports.extend([report] if report else [])
        return made

    more = {
        "model": model.name,
        "topk": arguments.topk,
        "predict": arguments.add_prediction,
        "classes": class_ids,
    }
    done = commit_once(repository, destination, "mining", inputs_of(asked, version, **more), commit)
    for job in jobs:
        tidy(arguments, job)
    lines = [line for report in reports for line in report.lines()]
    extra = {
        "model": model.package.model_id,
        "stage": model.stage,
        "predictions": reports[0].to_dict() if reports else None,
    }
    say_done(output, done, extra, lines)
    return 0
