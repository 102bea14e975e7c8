"""`mir init, log, branch, checkout`: the repository and the history of its branches."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mir_ops.cli.operations import repository_of
from mir_ops.cli.output import Output
from mir_ops.cli.repository import DEFAULT_BRANCH, Repository, create_repository
from mir_ops.errors import ConflictError, InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from mir_ops.store import Commit


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    init = subparsers.add_parser("init", help="Make a folder a mir repository")
    init.add_argument("--store", metavar="URL", help="Store, s3://… or a folder (`.mir/store`)")
    init.set_defaults(run=run_init)

    log = subparsers.add_parser("log", help="Show the commits of a branch, newest first")
    log.add_argument("branch", nargs="?", help="Branch (default: the one checked out)")
    log.add_argument("-n", "--limit", type=int, metavar="N", help="Show at most this many")
    log.set_defaults(run=run_log)

    branch = subparsers.add_parser("branch", help="List, create or delete branches")
    branch.add_argument("name", nargs="?", help="Branch to create (default, or `list`: list them)")
    branch.add_argument("rev", nargs="?", help="Where it starts (default: what is checked out)")
    branch.add_argument("-D", dest="delete", metavar="NAME", help="Delete a branch")
    branch.set_defaults(run=run_branch)

    for name in ("checkout", "co"):
        checkout = subparsers.add_parser(name, help="Choose the branch that commands start from")
        checkout.add_argument("branch")
        checkout.add_argument("-b", dest="create", action="store_true", help="Create it here")
        checkout.set_defaults(run=run_checkout)


def run_init(arguments: argparse.Namespace, output: Output) -> int:
    root = Path(arguments.root or ".")
    repository = create_repository(root, store_url=arguments.store)
    if not repository.store.branch(DEFAULT_BRANCH).exists:
        _create_branch(repository, DEFAULT_BRANCH, None)
    output.record(
        {"root": str(repository.root), "store": repository.store_url},
        [f"A mir repository is at {repository.root}; its store is {repository.store_url}"],
    )
    return 0


def run_log(arguments: argparse.Namespace, output: Output) -> int:
    repository = repository_of(arguments)
    store = repository.store
    name = repository.revision(arguments.branch)
    branch = store.branch(name) if "@" not in name else None
    if branch is None or not branch.exists:
        commits, seq = [store.resolve(name)], 0
    else:
        seq = branch.seq
        commits = list(branch.log(limit=arguments.limit))
    columns = ("version", "commit", "time", "operation", "images", "boxes", "message")
    rows = [_log_row(commit, seq - age) for age, commit in enumerate(commits)]
    if output.json:
        for commit, row in zip(commits, rows, strict=True):
            output.record(dict(zip(columns, row, strict=True)) | _log_details(commit))
    else:
        output.table(columns, rows, right=("images", "boxes"))
    return 0


def run_branch(arguments: argparse.Namespace, output: Output) -> int:
    repository = repository_of(arguments)
    if arguments.delete:
        _delete_branch(repository, arguments.delete)
        output.note(f"Deleted branch `{arguments.delete}`")
        return 0
    if arguments.name not in (None, "list"):
        commit = repository.resolve(arguments.rev)
        _check_free(repository, arguments.name)
        _create_branch(repository, arguments.name, commit)
        output.note(f"Created branch `{arguments.name}` at {commit.id[:12]}")
        return 0
    head = repository.head
    rows = []
    for branch in repository.store.branches():
        tip = branch.tip()
        rows.append(
            (
                "*" if branch.name == head else "",
                branch.name,
                f"V{branch.seq}",
                tip.id if output.json else tip.id[:12],
                tip.stats.assets,
                tip.message,
            )
        )
    output.table(("head", "branch", "version", "commit", "images", "message"), rows)
    return 0


def run_checkout(arguments: argparse.Namespace, output: Output) -> int:
    repository = repository_of(arguments)
    name = arguments.branch
    if arguments.create:
        _check_free(repository, name)
        _create_branch(repository, name, repository.resolve("HEAD"))
    elif not repository.store.branch(name).exists:
        raise NotFoundError(
            f"No branch is called `{name}`",
            code="no-such-branch",
            hint=f"List branches with `mir branch`, or create it with `mir checkout -b {name}`",
        )
    if not repository.folder.is_dir():
        raise NotFoundError(
            "There is no repository whose branch could be checked out",
            code="no-repository",
            hint="Make one with `mir init`",
        )
    repository.move_head(name)
    output.note(f"On branch `{name}`")
    return 0


def _create_branch(repository: Repository, name: str, base: Commit | None) -> None:
    from mir_ops.store import Operation, operation_id

    start = base.id if base else None
    seq = repository.store.branch(name).seq
    with repository.store.edit(
        name,
        op_id=operation_id(f"cli/branch/{name}", {"base": start, "seq": seq}),
        operation=Operation(kind="branch", inputs=(base.id,) if base else ()),
        message=f"Start branch {name}",
        base=base,
    ):
        pass


def _check_free(repository: Repository, name: str) -> None:
    if name == "HEAD" or repository.store.branch(name).exists:
        raise ConflictError(
            f"The branch `{name}` exists",
            code="branch-exists",
            hint=f"Use it with `mir checkout {name}`, or choose another name",
        )


def _delete_branch(repository: Repository, name: str) -> None:
    if name in (DEFAULT_BRANCH, repository.head):
        raise InvalidInputError(
            f"The branch `{name}` cannot be deleted: it is the default or checked out",
            code="branch-in-use",
            hint="Check another branch out first; the default one always stays",
        )
    repository.store.branch(name).delete()


def _log_row(commit: Commit, number: int) -> tuple[object, ...]:
    boxes = sum(layer.rows for name, layer in commit.stats.layers.items() if name == "ground_truth")
    return (
        f"V{number}" if number > 0 else "-",
        commit.id[:12],
        f"{commit.created_at:%Y-%m-%d %H:%M:%S}",
        commit.operation.kind,
        commit.stats.assets,
        boxes,
        commit.message,
    )


def _log_details(commit: Commit) -> dict[str, object]:
    stats = commit.stats
    return {
        "commit": commit.id,
        "time": commit.created_at.isoformat(),
        "parents": list(commit.parents),
        "project": commit.project,
        "round": commit.round,
        "run": commit.run,
        "splits": dict(stats.splits),
        "layers": {name: layer.rows for name, layer in stats.layers.items()},
    }
