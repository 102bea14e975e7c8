"""`mir backup`: the catalog and the store's refs into a folder, its objects to another place."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mir_ops.cli.output import Output, counted


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "backup",
        help="Back up the catalog and the store's refs, while rounds run",
        description="Write the catalog and all refs of the store into a folder, as they are while "
        "rounds run. Images and all else that never changes stay where they are, unless a place "
        "for a copy of them is named: what that lacks is copied there.",
    )
    parser.add_argument("folder", metavar="DIR", help="A new folder for this backup")
    parser.add_argument(
        "--objects", metavar="URL", help="Copy objects to this store too, s3://… or a folder"
    )
    parser.set_defaults(run=run_backup)


def run_backup(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.cli.repository import find_repository
    from mir_ops.upkeep.backups import back_up

    workspace = find_repository(arguments.root).workspace
    backup, copied = back_up(
        workspace.catalog,
        workspace.store,
        Path(arguments.folder),
        deployment=workspace.deployment,
        objects=arguments.objects,
        workspace=workspace,
    )
    refs = len(backup.refs())
    rows = sum(backup.rows.values())
    lines = [f"{backup.folder}: {counted(rows, 'rows')} of the catalog, {counted(refs, 'refs')}"]
    if copied is not None:
        lines.append(
            f"{arguments.objects}: {counted(copied.objects, 'objects')} copied, "
            f"{copied.byte_size} bytes; {copied.known} were there"
        )
    output.record(
        {
            "folder": str(backup.folder),
            "rows": dict(backup.rows),
            "refs": refs,
            "copied": copied and {"objects": copied.objects, "bytes": copied.byte_size},
        },
        lines,
    )
    return 0
