"""`mir store`: look after a store, and read it with other programs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mir_ops.cli.output import Output

if TYPE_CHECKING:
    from mir_ops.cli.repository import Repository
    from mir_ops.store import Store
    from mir_ops.store.audits import AuditReport
    from mir_ops.store.garbage import Dead, Garbage
    from mir_ops.store.objects import ObjectStore
    from mir_ops.store.outcomes import Outcome
    from mir_ops.store.reachability import Problem, ProblemKind

_KINDS: tuple[ProblemKind, ...] = ("missing", "corrupt", "dangling", "orphan")
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser("store", help="Check a store, and read it with other programs")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _register_checks(commands)
    _register_readers(commands)
    for name, command in commands.choices.items():
        if name != "doctor":
            command.add_argument("--store", metavar="URL", help="Store (default: the repository's)")


def _register_checks(commands: argparse._SubParsersAction[Any]) -> None:
    doctor = commands.add_parser(
        "doctor",
        help="Try out whether a place keeps what a store needs",
        description="Race, swap and read back small objects, and refuse a place that loses "
        "updates, by the name of the property. What is written is removed again.",
    )
    doctor.add_argument("url", nargs="?", metavar="URL", help="s3://… or a folder (this store)")
    doctor.add_argument("--quick", action="store_true", help="Race once instead of three times")
    doctor.set_defaults(run=run_doctor)

    fsck = commands.add_parser(
        "fsck",
        help="Check that everything is there and is what its name promises",
        description="quick: refs, commits, manifests. meta: also row segments and records, and "
        "what nothing leads to. deep: also all images and other blobs. The exit code is 0, or the "
        "sum of 4 (something is missing), 8 (corrupt) and 16 (dangling).",
    )
    fsck.add_argument(
        "depth",
        nargs="?",
        choices=("quick", "meta", "deep"),
        default="quick",
        help="How much is read (default: quick)",
    )
    fsck.set_defaults(run=run_fsck)

    gc = commands.add_parser(
        "gc",
        help="Show what a garbage collection would remove, and why",
        description="Show what no branch, tag, unexpired reflog entry or running operation "
        "leads to. Nothing is deleted.",
    )
    gc.add_argument("--dry-run", action="store_true", required=True, help="Only show it")
    gc.add_argument("--list", action="store_true", help="Show every object, not only totals")
    gc.set_defaults(run=run_gc)

    compact = commands.add_parser(
        "compact",
        help="Rewrite what many small commits left, so that it is read faster",
        description="Commit the same rows in fewer files where a table has more than 32 additions, "
        "or additions of more than a tenth of its rows. What earlier commits use stays.",
    )
    compact.add_argument("branch", nargs="*", metavar="BRANCH", help="Branches (default: all)")
    compact.set_defaults(run=run_compact)


def _register_readers(commands: argparse._SubParsersAction[Any]) -> None:
    resolve = commands.add_parser("resolve", help="Tell whether an operation was committed")
    resolve.add_argument("operation", metavar="OP", help="The operation's id")
    resolve.set_defaults(run=run_resolve)

    view = commands.add_parser(
        "export-view", help="Print how DuckDB and Polars read a dataset version"
    )
    view.add_argument("rev", metavar="REV", help="Branch, tag or commit")
    view.add_argument(
        "--for",
        dest="program",
        choices=("duckdb", "polars"),
        default="duckdb",
        help="The program (default: duckdb)",
    )
    view.set_defaults(run=run_export_view)


def run_doctor(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.store import keys
    from mir_ops.store.features import record_probe
    from mir_ops.store.probes import probe

    objects = _objects(arguments)
    found = probe(objects, depth="quick" if arguments.quick else "full")
    if output.json:
        output.record({"url": found.url, **found.to_dict()})
    else:
        rows = [(one.name, one.outcome, one.detail) for one in found.findings]
        output.table(["property", "outcome", "detail"], rows)
    if objects.find(keys.FORMAT) is not None:
        record_probe(objects, found)
    found.check()
    output.note(f"`{found.url}` keeps what a store needs")
    return 0


def run_fsck(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.store.audits import audit

    store = _open_store(arguments)

    def show(problem: Problem) -> None:
        if output.json:
            output.record(
                {
                    "kind": problem.kind,
                    "key": problem.key,
                    "reason": problem.reason,
                    "referrer": problem.referrer,
                }
            )
        elif problem.kind != "orphan":
            output.record(
                {},
                [f"{problem.kind}: `{problem.key}`: {problem.reason} (from {problem.referrer})"],
            )

    report = audit(store, arguments.depth, on_problem=show)
    output.record(_audit_totals(report), _audit_lines(report))
    return report.exit_code


def run_gc(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.store.garbage import find_garbage

    store = _open_store(arguments)
    dead: list[tuple[object, ...]] = []

    def note(one: Dead) -> None:
        if arguments.list:
            state = "removable" if one.ripe else "too young"
            dead.append((one.kind, one.key, one.byte_size, _days(one.age), state, one.why))

    found = find_garbage(store, keep=_named_by_catalog(arguments), on_dead=note)
    if arguments.list:
        columns = ["kind", "key", "bytes", "days", "state", "why"]
        output.table(columns, dead, right=["bytes", "days"])
    _show_garbage(found, output)
    return 0


def run_compact(arguments: argparse.Namespace, output: Output) -> int:
    store = _open_store(arguments)
    names = arguments.branch or [branch.name for branch in store.branches()]
    rows = []
    for name in names:
        before = store.branch(name).tip()
        after = store.compact(name)
        state = "as it was" if after.id == before.id else "compacted"
        rows.append((name, after.id if output.json else after.id[:12], state))
    output.table(["branch", "commit", "state"], rows)
    return 0


def run_resolve(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.store.outcomes import find_outcome

    outcome = find_outcome(_open_store(arguments), arguments.operation)
    commit = outcome.commit
    output.record(
        {
            "operation": outcome.op_id,
            "state": outcome.state,
            "branch": outcome.branch,
            "number": outcome.number,
            "commit": commit.id if commit else None,
            "pinned_until": outcome.pinned_until,
        },
        [_outcome_line(outcome)],
    )
    return 0


def run_export_view(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.store.views import export_view

    view = export_view(_open_store(arguments).read(arguments.rev))
    text = view.polars if arguments.program == "polars" else view.duckdb_setup + view.duckdb
    output.record(
        {
            "commit": view.commit,
            "duckdb_setup": view.duckdb_setup,
            "duckdb": view.duckdb,
            "polars": view.polars,
        },
        [text.rstrip("\n")],
    )
    return 0


def _open_store(arguments: argparse.Namespace) -> Store:
    from mir_ops.store import Store

    if arguments.store:
        return Store.open(arguments.store)
    return _repository(arguments).store


def _objects(arguments: argparse.Namespace) -> ObjectStore:
    """The place itself: it need not hold a store yet."""
    from mir_ops.store.urls import open_objects

    if arguments.url is None:
        return _repository(arguments).store.objects
    return open_objects(arguments.url, create=False, access_key=None, secret_key=None)


def _repository(arguments: argparse.Namespace) -> Repository:
    from mir_ops.cli.repository import find_repository

    return find_repository(arguments.root)


def _named_by_catalog(arguments: argparse.Namespace) -> set[str] | None:
    """The blobs that the repository's catalog names; None without a catalog."""
    from mir_ops.catalog.blobs import named_blobs

    if arguments.store:
        return None
    repository = _repository(arguments)
    path = repository.catalog_url.removeprefix("sqlite:///")
    if path != repository.catalog_url and not Path(path).exists():
        return None
    return named_blobs(repository.workspace.catalog)


def _audit_totals(report: AuditReport) -> dict[str, object]:
    totals: dict[str, object] = {"depth": report.depth, "exit_code": report.exit_code}
    for kind in _KINDS:
        totals[kind] = report.found[kind]
    return totals | {"seen": dict(sorted(report.seen.items()))}


def _audit_lines(report: AuditReport) -> list[str]:
    seen = ", ".join(f"{amount} {name}" for name, amount in sorted(report.seen.items()))
    found = ", ".join(f"{report.found[kind]} {kind}" for kind in sorted(report.found))
    return [f"checked ({report.depth}): {seen}", f"found: {found or 'nothing wrong'}"]


def _show_garbage(found: Garbage, output: Output) -> None:
    rows: list[tuple[object, ...]] = []
    for name, kind in sorted(found.kinds.items()):
        sizes = (kind.byte_size, kind.ripe_bytes)
        shown = sizes if output.json else tuple(_size(size) for size in sizes)
        rows.append((name, kind.count, shown[0], kind.ripe_count, shown[1]))
    columns = ["dead", "count", "bytes", "removable", "removable_bytes"]
    output.table(columns, rows, right=columns[1:])
    for note in found.notes:
        output.note(note)
    output.note("Nothing was deleted")


def _outcome_line(outcome: Outcome) -> str:
    if outcome.commit is not None:
        number = f" as V{outcome.number}" if outcome.number else ""
        return f"committed: {outcome.commit.id} on branch `{outcome.branch}`{number}"
    if outcome.state == "unknown":
        until = f"{outcome.pinned_until:%Y-%m-%d %H:%M:%S} UTC" if outcome.pinned_until else ""
        return f"unknown: not committed so far, but a writer holds it until {until}"
    return "not committed: running it commits it once"


def _days(seconds: float) -> str:
    return f"{seconds / 86400:.1f}"


def _size(count: int) -> str:
    size, unit = float(count), 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.0f} {_UNITS[unit]}" if unit == 0 else f"{size:.1f} {_UNITS[unit]}"
