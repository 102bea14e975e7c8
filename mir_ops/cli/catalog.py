"""`mir catalog`: what the store keeps of the catalog, and a lost catalog made again from it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from mir_ops.cli.output import Output, counted

if TYPE_CHECKING:
    from mir_ops.catalog.rebuilding import Rebuilt
    from mir_ops.workspace import Workspace

_SHOWN = 40  # differences; there may be as many as rows


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser("catalog", help="Make a lost catalog again from the store")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    rebuild = actions.add_parser(
        "rebuild",
        help="Fill an empty catalog with what the store keeps of it",
        description="Fill an empty catalog with the projects, rounds, models, label tasks, gate "
        "reports and executors that the store keeps, and say what is not there. A catalog that "
        "has other rows is left as it is: then this says where it differs.",
    )
    rebuild.add_argument("--dry-run", action="store_true", help="Only say what it would do")
    rebuild.add_argument(
        "--deployment", metavar="NAME", help="What this deployment left (default: all of them)"
    )
    rebuild.set_defaults(run=run_rebuild)
    keep = actions.add_parser(
        "keep",
        help="Let the store keep what the catalog knows now",
        description="Write to the store what it does not know of the catalog yet. Rounds and "
        "trainings do so by themselves; this also takes what was changed outside of them.",
    )
    keep.set_defaults(run=run_keep)


def run_rebuild(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.catalog.rebuilding import CatalogDiffersError, rebuild

    workspace = _workspace(arguments)
    try:
        found = rebuild(
            workspace.catalog,
            workspace.store,
            deployment=arguments.deployment,
            dry_run=arguments.dry_run,
        )
    except CatalogDiffersError as error:
        shown = error.differences if output.json else error.differences[:_SHOWN]
        for line in shown:
            output.record({"differs": line}, [f"differs: {line}"])
        raise
    output.record(
        {
            "rows": dict(found.rows),
            "written": found.written,
            "open_rounds": list(found.open_rounds),
            "left_out": list(found.left_out),
        },
        _lines(found, dry_run=arguments.dry_run),
    )
    return 0


def run_keep(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.catalog.pages import keep_all

    workspace = _workspace(arguments)
    written = keep_all(workspace.catalog, workspace.store, workspace.deployment)
    output.record({"written": written}, [f"{counted(written, 'pages')} written"])
    return 0


def _workspace(arguments: argparse.Namespace) -> Workspace:
    from mir_ops.cli.repository import find_repository

    return find_repository(arguments.root).workspace


def _lines(found: Rebuilt, *, dry_run: bool) -> list[str]:
    did = "Would write" if dry_run else "Wrote" if found.written else "Has already"
    lines = [f"{did}: {table.removeprefix('mir_')} {rows}" for table, rows in found.rows.items()]
    lines += [
        f"open: {round_}; clear its task to go on, or give it up with `mir round fail`"
        for round_ in found.open_rounds
    ]
    return [*lines, *(f"left out: {line}" for line in found.left_out)]
