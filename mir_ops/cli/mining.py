"""`mir mining`: the images that are worth labelling most, by what a model makes of them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from mir_ops.cli.jobs import (
    add_job,
    add_sources_to_merge,
    add_unknown_classes,
    class_ids_of,
    read_call,
    tidy,
)
from mir_ops.cli.mining_explain import register_explain
from mir_ops.cli.operations import add_destination, say_done
from mir_ops.cli.output import Output

if TYPE_CHECKING:
    from mir_ops.executor.inference import InferenceReport
    from mir_ops.executor.jobs import Job
    from mir_ops.executor.tasks import Order
    from mir_ops.store import Commit


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "mining",
        help="Keep the images that a model finds most worth labelling",
        description="Score every image with a model, and keep the highest; the scores stay with "
        "the version. `--add-prediction` also keeps what the model found on them. "
        "`mir mining explain` shows why each was chosen.",
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
    register_explain(parser)


def run_mining(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.executor.mining import check_top, mine

    top, predict = arguments.topk, arguments.add_prediction
    check_top(top)
    call = read_call(arguments, "mine", output)
    model, class_ids = call.predictor, class_ids_of(call)

    def work(order: Order) -> tuple[Commit, InferenceReport | None, Job]:
        return mine(
            call.asked.desk, order, call.version, model, class_ids, top=top, predict=predict
        )

    message = f"Keep {top} images that {call.asked.image.name} scored highest"
    inputs = {"model": model.name, "topk": top, "predict": predict, "classes": class_ids}
    done, ran = call.once("mining", message, inputs, work)
    report, job = ran or (None, None)
    tidy(arguments, job)
    extra = {
        "model": model.package.model_id,
        "stage": model.stage,
        "predictions": report.to_dict() if report else None,
    }
    say_done(output, done, extra, report.lines() if report else [])
    return 0
