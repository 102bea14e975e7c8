"""`mir restore`: a backup brought back; what lives is overwritten only where that is said."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mir_ops.cli.output import Output, counted

if TYPE_CHECKING:
    from mir_ops.upkeep.backups import Backup
    from mir_ops.upkeep.copies import Copied
    from mir_ops.upkeep.restoring import Restored


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "restore",
        help="Bring a backup back; what lives is not overwritten",
        description="Check a backup, put back refs that are missing, and fill an empty catalog "
        "with the backup's rows and with what rounds left in the store since. Stop what works on "
        "them before. Where the store itself is lost, name the copy of its objects.",
    )
    parser.add_argument("folder", metavar="DIR", help="The folder of the backup")
    parser.add_argument("--objects", metavar="URL", help="Copy what the store lacks from here")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="Replace the catalog's rows, and set branches back that moved on, as a version more",
    )
    parser.add_argument("--dry-run", action="store_true", help="Only say what it would do")
    parser.set_defaults(run=run_restore)


def run_restore(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.cli.repository import find_repository
    from mir_ops.store import Store
    from mir_ops.store.keys import FORMAT
    from mir_ops.store.urls import open_objects
    from mir_ops.upkeep.backups import open_backup
    from mir_ops.upkeep.restoring import restore, restore_store

    workspace = find_repository(arguments.root).workspace
    backup = open_backup(Path(arguments.folder))
    keys = {"access_key": workspace.access_key, "secret_key": workspace.secret_key}
    copy = open_objects(arguments.objects, create=False, **keys) if arguments.objects else None
    objects = open_objects(workspace.store_url, create=not arguments.dry_run, **keys)
    copied = restore_store(backup, objects, copy=copy, dry_run=arguments.dry_run)
    # Before a lost store is there again, its copy shows what it will be.
    lost = arguments.dry_run and objects.find(FORMAT) is None
    done = restore(
        backup,
        Store.on(copy) if lost and copy is not None else workspace.store,
        workspace.catalog,
        overwrite=arguments.overwrite,
        dry_run=arguments.dry_run,
    )
    output.record(_record(backup, done, copied), _lines(backup, done, copied))
    return 0


def _record(backup: Backup, done: Restored, copied: Copied | None) -> dict[str, object]:
    return {
        "backup": str(backup.folder),
        "written": done.written,
        "copied": copied.objects if copied else 0,
        "refs": done.refs,
        "kept": done.kept,
        "rows": done.rows,
        "open_rounds": done.open_rounds,
        "newer_rounds": done.newer_rounds,
        "missing": done.missing,
    }


def _lines(backup: Backup, done: Restored, copied: Copied | None) -> list[str]:
    did = "Restored" if done.written else "Would restore"
    lines = [f"{did} the backup of {backup.created_at:%Y-%m-%d %H:%M:%S} UTC"]
    if copied is not None:
        lines.append(f"copied: {counted(copied.objects, 'objects')}")
    lines.append(f"catalog: {counted(sum(done.rows.values()), 'rows')}")
    lines += [f"restored: {line}" for line in done.refs]
    lines += [f"kept: {line}" for line in done.kept]
    lines += [f"since the backup, from the store: {line}" for line in done.newer_rounds]
    lines += [
        f"open: {line}; clear its task to go on, or give it up with `mir round fail`"
        for line in done.open_rounds
    ]
    return [*lines, *(f"missing: {line}" for line in done.missing)]
