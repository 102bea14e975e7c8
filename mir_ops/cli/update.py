"""`mir update`: take over what another branch gained."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from mir_ops.cli.operations import (
    Done,
    add_destination,
    commit_once,
    destination_of,
    repository_of,
    say_done,
)
from mir_ops.cli.output import Output
from mir_ops.dataset.revisions import parse_source

if TYPE_CHECKING:
    from mir_ops.dataset.updating import Increment
    from mir_ops.store import Operation


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "update",
        help="Take over what another branch gained",
        description="What the other branch gained since this one came from it passes the filters "
        "and samplings again that made this one, with the same parameters and seeds, and is "
        "merged into it. Corrections to images that it has, and removals, are taken over too.",
    )
    add = parser.add_argument
    add("branch", nargs="?", metavar="BRANCH", help="What to update (default: what is checked out)")
    add("--src-revs", "--src-rev", dest="src_revs", help=argparse.SUPPRESS)
    add("--from", dest="source", metavar="REV", required=True, help="Where the new images are")
    add(
        *("-s", "--strategy"),
        choices=("stop", "host", "guest", "union"),
        default="stop",
        help="What both changed: stop (default), whose side wins, or the boxes of both",
    )
    add_destination(parser)
    parser.set_defaults(run=run_update)


def run_update(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.dataset.updating import find_increment, update

    repository = repository_of(arguments)
    rev, source = (
        repository.revision(parse_source(given or "HEAD").rev)
        for given in (arguments.src_revs or arguments.branch, arguments.source)
    )
    arguments.to = arguments.to or rev
    destination = destination_of(arguments)
    store = repository.store
    increment = find_increment(store, rev, source)
    if increment.is_empty:
        output.note(f"`{source}` gained nothing since `{rev}` was taken from it")
    done = commit_once(
        repository,
        destination,
        "update",
        {
            "tip": increment.tip.id,
            "source": increment.source.id,
            "strategy": arguments.strategy,
        },
        lambda op_id: (
            increment.tip
            if increment.is_empty and destination.branch == rev
            else update(
                store,
                increment,
                destination.branch,
                strategy=arguments.strategy,
                op_id=op_id,
                message=arguments.message,
            )
        ),
    )
    _say_updated(output, done, increment)
    return 0


def _say_updated(output: Output, done: Done, increment: Increment) -> None:
    replayed = [_said(operation) for operation in increment.replayed]
    left = [_said(operation) for operation in increment.left]
    extra = {
        "base": increment.base.id,
        "source": increment.source.id,
        "replayed": replayed,
        "not_replayed": left,
    }
    lines = []
    if not increment.is_empty:
        lines += [f"replayed: {said}" for said in replayed]
        lines += [f"not repeated on the new images: {said}" for said in left]
    say_done(output, done, extra, lines)


def _said(operation: Operation) -> str:
    parameters = {**operation.parameters}
    parameters.pop("class_ids", None)  # the same classes as the names that are said
    if operation.seed is not None:
        parameters["seed"] = operation.seed
    given = (f"{name}={value}" for name, value in parameters.items() if value not in (None, [], {}))
    return " ".join([operation.kind, *given])
