"""`mir round rerun` and `mir round verify`: a closed round played in again from its record."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from mir_ops.cli.operations import repository_of
from mir_ops.cli.output import Output
from mir_ops.cli.rounds import add_number, add_project, chosen_project

if TYPE_CHECKING:
    from mir_ops.rounds.rerun import Rerun

_SHORT = 40


def register_replay(actions: Any) -> None:
    """Add `rerun` and `verify` to `mir round`."""
    what = (
        "Merges, training, evaluation, decisions and picks are worked out again from what the "
        "round started from; labels are those that people gave. Your store and catalog stay as "
        "they are: what is made is kept below the work folder. Interrupted, it goes on where it "
        "was."
    )
    rerun = actions.add_parser(
        "rerun", help="Play a closed round in again from its record", description=what
    )
    verify = actions.add_parser(
        "verify",
        help="Play a closed round in again, and compare it with its record",
        description=f"{what} The exit code is 1 where anything came out differently.",
    )
    for parser, run in ((rerun, run_rerun), (verify, run_verify)):
        add_number(parser)
        add_project(parser)
        parser.set_defaults(run=run)


def run_rerun(arguments: argparse.Namespace, output: Output) -> int:
    found = _rerun(arguments, output)
    metrics = found.replayed["metrics"]
    lines = [f"Played round {arguments.number} in again: {len(found.replayed['chosen'])} chosen"]
    if metrics:
        lines.append(f"map50: {metrics['map50']:.3f}, map50_95: {metrics['map50_95']:.3f}")
    lines.append(f"What was made: {found.scratch.folder}")
    output.record(dict(found.replayed), lines)
    return 0


def run_verify(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.rounds.verifying import verify_rerun

    checks = verify_rerun(_rerun(arguments, output))
    rows = [
        ("same" if each.same else "DIFFERS", each.what, _cut(each.recorded), _cut(each.replayed))
        for each in checks
    ]
    output.table(("result", "what", "recorded", "replayed"), rows)
    different = [each for each in checks if not each.same]
    if not different:
        output.note(f"Round {arguments.number} came out as recorded: {len(checks)} checks")
        return 0
    output.note(f"Round {arguments.number} differs from its record in {len(different)} places")
    return 1


def _rerun(arguments: argparse.Namespace, output: Output) -> Rerun:
    from mir_ops.arrow import spare_pandas
    from mir_ops.rounds.rerun import rerun_round

    spare_pandas()
    workspace = repository_of(arguments).workspace
    return rerun_round(
        workspace,
        chosen_project(workspace.catalog, arguments),
        arguments.number,
        on_step=output.note,
    )


def _cut(text: str) -> str:
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}…"
