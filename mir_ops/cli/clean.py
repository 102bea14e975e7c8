"""`mir clean`: remove what killed processes, failed steps and old runs left on this host."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mir_ops.cli.output import Output, counted

if TYPE_CHECKING:
    from mir_ops.upkeep.housekeeping import Cleaned
    from mir_ops.workspace import Workspace


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "clean",
        help="Remove what failed steps and killed processes left on this host",
        description="Remove the kept jobs of failed steps, files of killed processes, and old "
        "logs of Airflow's tasks, and let the cache of images keep its limit. What a running "
        "task, a container or an open round may want stays, and so does the store.",
    )
    add = parser.add_argument
    add("--dry-run", action="store_true", help="Only show it")
    add("--work-dir", metavar="DIR", help="Work folder (default: the repository's)")
    add("--logs", metavar="DIR", help="Airflow's log folder (default: no logs)")
    add("--job-days", type=float, metavar="N", help="Keep jobs of failed steps (default: 14)")
    add("--log-days", type=float, metavar="N", help="Keep logs of tasks (default: 180)")
    parser.set_defaults(run=run_clean)


def run_clean(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.upkeep.cleaning import Rules
    from mir_ops.upkeep.housekeeping import clean

    said = {"job_days": arguments.job_days, "log_days": arguments.log_days}
    rules = Rules(**{name: days for name, days in said.items() if days is not None})
    logs = Path(arguments.logs).absolute() if arguments.logs else None
    done = clean(_workspace(arguments), rules=rules, logs_dir=logs, dry_run=arguments.dry_run)
    rows = [(one.kind, f"{one.age / 86400:.1f}", one.byte_size, one.path) for one in done.removed]
    output.table(["removed", "days", "bytes", "path"], rows, right=["days", "bytes"])
    _note(done, output, dry_run=arguments.dry_run)
    return 0


def _workspace(arguments: argparse.Namespace) -> Workspace:
    from dataclasses import replace

    from mir_ops.cli.repository import find_repository

    workspace = find_repository(arguments.root).workspace
    if arguments.work_dir is None:
        return workspace
    return replace(workspace, work_dir=Path(arguments.work_dir).absolute())


def _note(done: Cleaned, output: Output, *, dry_run: bool) -> None:
    for one in done.kept:
        output.warning(f"`{one.path}` is in use now, or cannot be removed")
    for note in done.notes:
        output.note(note)
    did = "Would remove" if dry_run else "Removed"
    output.note(f"{did} {counted(len(done.removed), 'things')}, {done.byte_size} bytes")
