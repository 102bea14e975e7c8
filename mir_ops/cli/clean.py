"""`mir clean`: remove what killed processes, failed steps and old runs left on this host."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mir_ops.cli.output import Output, counted

if TYPE_CHECKING:
    from mir_ops.upkeep.housekeeping import Cleaned
    from mir_ops.workspace import Workspace

_TERMS: Final = ("job_days", "log_days", "label_days", "image_days")


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "clean",
        help="Remove what failed steps and killed processes left on this host",
        description="Remove the kept jobs of failed steps, files of killed processes, and old "
        "logs of Airflow's tasks, and let the cache of images keep its limit. What a running "
        "task, a container or an open round may want stays, and so does the store. The exit code "
        "is 1 where a part of it broke off; the others are done then.",
    )
    add = parser.add_argument
    add("--dry-run", action="store_true", help="Only show it")
    add("--work-dir", metavar="DIR", help="Work folder (default: the repository's)")
    add("--logs", metavar="DIR", help="Airflow's log folder (default: no logs)")
    add("--labels", metavar="DIR", help="Label folder (default: the work folder's `labels`)")
    add("--images", action="store_true", help="Also old builds of executors on the engine")
    add("--job-days", type=float, metavar="N", help="Keep jobs of failed steps (default: 14)")
    add("--log-days", type=float, metavar="N", help="Keep logs of tasks (default: 180)")
    add("--label-days", type=float, metavar="N", help="Keep images of closed tasks (default: 90)")
    add("--image-days", type=float, metavar="N", help="Keep builds of executors (default: 30)")
    parser.set_defaults(run=run_clean)


def run_clean(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.upkeep.cleaning import Rules
    from mir_ops.upkeep.housekeeping import clean

    terms = {name: getattr(arguments, name) for name in _TERMS}
    done = clean(
        _workspace(arguments),
        rules=Rules(**{name: days for name, days in terms.items() if days is not None}),
        logs_dir=Path(arguments.logs).absolute() if arguments.logs else None,
        labels_dir=Path(arguments.labels).absolute() if arguments.labels else None,
        images=arguments.images,
        dry_run=arguments.dry_run,
    )
    rows = [(one.kind, f"{one.age / 86400:.1f}", one.byte_size, one.path) for one in done.removed]
    output.table(["removed", "days", "bytes", "path"], rows, right=["days", "bytes"])
    _note(done, output, dry_run=arguments.dry_run)
    return 1 if done.failed else 0


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
    for reason in done.failed:
        output.warning(reason)
    did = "Would remove" if dry_run else "Removed"
    output.note(f"{did} {counted(len(done.removed), 'things')}, {done.byte_size} bytes")
