"""`mir round compare`: two rounds side by side."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any

from mir_ops.cli.operations import repository_of
from mir_ops.cli.output import Output
from mir_ops.cli.rounds import add_project, chosen_project


def register_compare(actions: Any) -> None:
    """Add `compare` to `mir round`."""
    compare = actions.add_parser(
        "compare",
        help="Show two closed rounds side by side",
        description="Metrics, the training data at the end of each, boxes of each class, cost, "
        "and the settings that differ.",
    )
    compare.add_argument("first", type=int, metavar="N", help="One round")
    compare.add_argument("second", type=int, metavar="M", help="The other")
    add_project(compare)
    compare.set_defaults(run=run_compare)


def run_compare(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.rounds.comparing import ComparedRounds, compare_rounds

    workspace = repository_of(arguments).workspace
    project = chosen_project(workspace.catalog, arguments)
    found = compare_rounds(workspace, project, arguments.first, arguments.second)
    if output.json:
        output.record(found.to_dict())
        return 0
    parts = [each.name for each in fields(ComparedRounds) if each.name not in ("project", "rounds")]
    rows = [
        (part, name, _shown(one), _shown(other), _change(one, other))
        for part in parts
        for name, (one, other) in getattr(found, part).items()
    ]
    columns = ("part", "what", f"round_{arguments.first}", f"round_{arguments.second}", "change")
    output.table(columns, rows, right=columns[2:])
    return 0


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _change(one: object, other: object) -> str:
    if isinstance(one, bool) or not isinstance(one, int | float):
        return ""
    if isinstance(other, bool) or not isinstance(other, int | float) or one == other:
        return ""
    both_whole = isinstance(one, int) and isinstance(other, int)
    return f"{other - one:+d}" if both_whole else f"{other - one:+.3f}"
