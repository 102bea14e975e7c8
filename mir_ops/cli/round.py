"""`mir round`: list and show rounds, start one through Airflow, give one up."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from mir_ops.cli.output import Output
from mir_ops.cli.round_compare import register_compare
from mir_ops.cli.round_replay import register_replay
from mir_ops.cli.round_start import register_start
from mir_ops.cli.round_worth import register_worth
from mir_ops.cli.rounds import add_number, add_project, chosen_project

if TYPE_CHECKING:
    from mir_ops.catalog import Catalog, Round, RoundStep
    from mir_ops.workspace import Workspace


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser("round", help="Start and show active-learning rounds")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="List rounds")
    add_project(listing)
    listing.set_defaults(run=run_list)
    show = actions.add_parser("show", help="Show one round: its steps, or its record")
    add_number(show)
    add_project(show)
    show.set_defaults(run=run_show)
    fail = actions.add_parser("fail", help="Give an open round up, so that the next may start")
    add_number(fail)
    fail.add_argument(
        "--reason", default="Given up by hand", metavar="TEXT", help="Kept with the round"
    )
    add_project(fail)
    fail.set_defaults(run=run_fail)
    register_start(actions)
    register_compare(actions)
    register_replay(actions)
    register_worth(actions)


def run_list(arguments: argparse.Namespace, output: Output) -> int:
    catalog = _workspace(arguments).catalog
    columns = ("project", "round", "state", "step", "map50", "labelled", "run")
    rows = [_row(catalog, each) for each in catalog.rounds.list(arguments.project)]
    output.table(columns, rows, right=("round", "map50", "labelled"))
    return 0


def run_show(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.rounds.control import control_lines
    from mir_ops.rounds.cost import cost_lines
    from mir_ops.rounds.record import read_record
    from mir_ops.rounds.sticky import next_lines

    workspace = _workspace(arguments)
    catalog = workspace.catalog
    found = catalog.rounds.get_number(chosen_project(catalog, arguments), arguments.number)
    if output.json and found.record is not None:
        output.record(read_record(workspace, found.record))
        return 0
    rows = [_step_row(each) for each in catalog.steps.list(found.id)]
    output.table(
        ("step", "state", "percent", "seconds", "what"), rows, right=("percent", "seconds")
    )
    closing = catalog.steps.find(found.id, "close_round")
    closed = (closing.result if closing else None) or {}
    lines = [*control_lines(closed.get("control")), *cost_lines(closed.get("cost"))]
    for line in [*lines, *next_lines(closed.get("next"))]:
        output.record({}, [line])
    output.note(_summary(found))
    return 0


def run_fail(arguments: argparse.Namespace, output: Output) -> int:
    catalog = _workspace(arguments).catalog
    found = catalog.rounds.get_number(chosen_project(catalog, arguments), arguments.number)
    now = catalog.rounds.fail(found.id, reason=arguments.reason)
    if now.state == "failed":
        catalog.steps.fail_running(found.id, arguments.reason)
    state = {"project": now.project, "round": now.number, "state": now.state}
    output.record(state, [f"Round {now.number} of `{now.project}`: {now.state}"])
    return 0


def _workspace(arguments: argparse.Namespace) -> Workspace:
    from mir_ops.cli.repository import find_repository

    return find_repository(arguments.root).workspace


def _row(catalog: Catalog, found: Round) -> tuple[object, ...]:
    steps = {each.step: each for each in catalog.steps.list(found.id)}
    last = next(reversed(steps.values()), None)
    return (
        found.project,
        found.number,
        found.state,
        _where(last) if found.state != "closed" else "-",
        _metric(steps.get("evaluate")),
        (steps["import_labels"].result or {}).get("done", "-") if "import_labels" in steps else "-",
        found.run_id,
    )


def _where(step: RoundStep | None) -> str:
    if step is None:
        return "-"
    running = step.state == "running" and step.percent is not None
    return f"{step.step} {step.percent:.0f} %" if running else f"{step.step} {step.state}"


def _metric(step: RoundStep | None) -> str:
    if step is None or step.result is None:
        return "-"
    return f"{step.result['metrics']['map50']:.3f}"


def _step_row(step: RoundStep) -> tuple[object, ...]:
    seconds = (
        f"{(step.finished_at - step.started_at).total_seconds():.1f}" if step.finished_at else "-"
    )
    percent = "-" if step.percent is None else f"{step.percent:.0f}"
    return step.step, step.state, percent, seconds, _what(step)


def _what(step: RoundStep) -> str:
    """The one thing that a person looks for in a step's result."""
    if step.message:
        return step.message
    result = step.result or {}
    words: Iterable[str] = (
        f"{name} {str(result[name])[:12]}"
        for name in ("commit", "model_id", "reason", "picked", "done", "tag")
        if result.get(name) is not None
    )
    return ", ".join(words) or "-"


def _summary(found: Round) -> str:
    text = f"Round {found.number} of `{found.project}` is {found.state}, run `{found.run_id}`"
    return f"{text}: {found.reason}" if found.reason else text
