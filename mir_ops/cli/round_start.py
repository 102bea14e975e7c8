"""`mir round start`: start a round through Airflow's REST API."""

from __future__ import annotations

import argparse
import os
from typing import Any

from mir_ops.cli.output import Output
from mir_ops.errors import InvalidInputError


def register_start(actions: Any) -> None:
    """Add `start` to `mir round`."""
    start = actions.add_parser("start", help="Start a round through Airflow's REST API")
    start.add_argument("project", metavar="PROJECT", help="Its name")
    _add_conf(start)
    _add_airflow(start)
    start.set_defaults(run=run_start)


def run_start(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.catalog.projects import RoundConf, read_conf
    from mir_ops.cli.round_follow import follow_run
    from mir_ops.rounds.airflow_api import AirflowClient

    url = arguments.url or os.environ.get("MIR_AIRFLOW_URL")
    if not url:
        raise InvalidInputError(
            "Where is Airflow?",
            code="no-airflow-url",
            hint="Give `--url`, or set `MIR_AIRFLOW_URL`",
        )
    conf = {
        name: value
        for name in RoundConf.model_fields
        if (value := getattr(arguments, name)) is not None
    }
    read_conf(conf)
    with AirflowClient(
        url,
        token=os.environ.get("MIR_AIRFLOW_TOKEN"),
        username=arguments.user or os.environ.get("MIR_AIRFLOW_USER"),
        password=arguments.password or os.environ.get("MIR_AIRFLOW_PASSWORD"),
    ) as client:
        run = client.trigger(arguments.dag, conf=conf)
        where = client.run_url(run.dag_id, run.run_id)
        if arguments.wait:
            output.note(f"Started `{run.run_id}`: {where}")
            run = follow_run(client, run, output)
    output.record(
        {"dag": run.dag_id, "run": run.run_id, "state": run.state, "url": where},
        [f"{'Ended' if run.finished else 'Started'} `{run.run_id}`: {where}"],
    )
    return 0


def _add_conf(start: argparse.ArgumentParser) -> None:
    """What this run says differently from the project."""
    start.add_argument("--new-data", metavar="PATH", help="VOC zip or folder, as Airflow sees it")
    start.add_argument("--budget", type=int, metavar="N", help="Images to pick")
    start.add_argument("--strategy", metavar="NAME", help="Mining strategy")
    start.add_argument("--control", type=float, metavar="SHARE", help="Share drawn at random")
    start.add_argument("--pretrained", metavar="ID[@STAGE]", help="Model to start from")
    start.add_argument("--model", metavar="ID[@STAGE]", help="Take it instead of training one")
    start.add_argument(
        "--prepare-pool",
        action=argparse.BooleanOptionalAction,
        help="Whether the pool is filtered and sampled (default: as the project says)",
    )
    start.add_argument(
        "--mine",
        action=argparse.BooleanOptionalAction,
        help="Whether to pick images; without, everything that was prepared is labelled",
    )
    start.add_argument(
        "--label",
        action=argparse.BooleanOptionalAction,
        help="Whether people are asked; without, the round ends with its picks",
    )
    start.add_argument(
        "--train-after-merge",
        action=argparse.BooleanOptionalAction,
        help="Whether a last model learns from this round's labels (default: the project's)",
    )
    start.add_argument("--seed", type=int, metavar="N", help="Default: the project's")
    start.add_argument(
        "--as-project",
        action="store_true",
        default=None,
        help="Forget what earlier runs said differently from the project",
    )


def _add_airflow(start: argparse.ArgumentParser) -> None:
    """Which DAG, where, and whether to stay."""
    start.add_argument(
        "--dag",
        default="active_learning_round",
        metavar="ID",
        help="Which DAG (default: active_learning_round)",
    )
    start.add_argument(
        "--wait",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="Whether to show progress until the round is over (default); Ctrl-C leaves it running",
    )
    start.add_argument("--url", metavar="URL", help="Of Airflow (default: `MIR_AIRFLOW_URL`)")
    start.add_argument("--user", metavar="NAME", help="Default: `MIR_AIRFLOW_USER`")
    start.add_argument(
        "--password", metavar="TEXT", help="Better: `MIR_AIRFLOW_PASSWORD`, which nobody sees"
    )
