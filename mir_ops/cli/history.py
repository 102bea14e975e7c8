"""`mir log, branch, checkout, tag`: the versions of branches, and moving between them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from mir_ops.cli.operations import add_sources, repository_of, source_of
from mir_ops.cli.output import Output, time_title
from mir_ops.cli.repository import DEFAULT_BRANCH, Repository
from mir_ops.errors import ConflictError, InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from mir_ops.store import Commit, Store


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    _register_log(subparsers)
    _register_branch(subparsers)
    _register_checkout(subparsers)
    _register_tag(subparsers)


def run_log(arguments: argparse.Namespace, output: Output) -> int:
    repository = repository_of(arguments)
    store = repository.store
    rev = source_of(arguments, repository).rev
    tags = tags_by_commit(store, rev.partition("@")[0])
    found = list(islice(_history(store, rev), arguments.limit))
    if output.json:
        for commit, number in found:
            output.record(_log_record(commit, number, tags))
    elif arguments.oneline or arguments.graph or arguments.dog:
        graph = arguments.graph or arguments.dog
        for commit, _ in found:
            output.record({}, _short_lines(commit, tags, graph=graph))
    else:
        rows = [_log_row(commit, number, tags) for commit, number in found]
        columns = ["version", "commit", "time", "author", "operation", "images", "boxes"]
        output.table([*columns, "tags", "message"], rows, right=("images", "boxes"))
    return 0


def run_branch(arguments: argparse.Namespace, output: Output) -> int:
    repository = repository_of(arguments)
    if arguments.delete:
        _delete_branch(repository, arguments.delete)
        output.record({"deleted": arguments.delete}, [])
        output.note(f"Deleted branch `{arguments.delete}`; `--restore` brings it back")
    elif arguments.restore:
        commit = repository.store.branch(arguments.restore).restore()
        output.record({"branch": arguments.restore, "commit": commit.id}, [])
        output.note(f"Restored branch `{arguments.restore}` at {commit.id[:12]}")
    elif arguments.name not in (None, "list"):
        base = repository.resolve(arguments.rev)
        _check_free(repository, arguments.name)
        commit = create_branch(repository, arguments.name, base)
        output.record({"branch": arguments.name, "commit": commit.id, "base": base.id}, [])
        output.note(f"Created branch `{arguments.name}` at {base.id[:12]}")
    else:
        _list_branches(repository, output)
    return 0


def run_checkout(arguments: argparse.Namespace, output: Output) -> int:
    repository = repository_of(arguments)
    if not repository.folder.is_dir():
        raise NotFoundError(
            "There is no repository whose branch could be checked out",
            code="no-repository",
            hint="Make one with `mir init`",
        )
    if arguments.create:
        base = repository.resolve(arguments.start)
        _check_free(repository, arguments.rev)
        create_branch(repository, arguments.rev, base)
    rev = repository.revision(arguments.rev)
    commit = repository.resolve(rev)
    on_branch = "@" not in rev and repository.store.branch(rev).exists
    repository.move_head(rev if on_branch or "@" in rev else commit.id)
    output.record({"head": repository.head, "commit": commit.id}, [])
    if on_branch:
        output.note(f"On branch `{rev}`")
    else:
        output.note(f"At `{rev}`, which is no branch: `mir checkout -b NAME` starts one here")
    return 0


def run_tag(arguments: argparse.Namespace, output: Output) -> int:
    repository = repository_of(arguments)
    if arguments.name not in (None, "list"):
        commit, name = repository.resolve(arguments.rev), arguments.name
        if arguments.frozen:
            from mir_ops.evaluation.frozen import freeze

            name = freeze(repository.store, name, commit)
        else:
            repository.store.create_tag(name, commit.id)
        output.record({"tag": name, "commit": commit.id}, [])
        output.note(f"`{name}` is commit {commit.id[:12]}")
        return 0
    rows = []
    for name, commit_id in repository.store.tags().items():
        commit = repository.store.commit(commit_id)
        shown = commit.id if output.json else commit.id[:12]
        rows.append((name, shown, output.time(commit.created_at), commit.message))
    output.table(("tag", "commit", "time", "message"), rows)
    return 0


def create_branch(repository: Repository, name: str, base: Commit | None) -> Commit:
    """A branch that starts with the content of `base`, or empty."""
    from mir_ops.store import Operation, operation_id

    start = base.id if base else None
    seq = repository.store.branch(name).seq
    with repository.store.edit(
        name,
        op_id=operation_id(f"cli/branch/{name}", {"base": start, "seq": seq}),
        operation=Operation(kind="branch", inputs=(base.id,) if base else ()),
        message=f"Start branch {name}",
        base=base,
    ) as edit:
        pass
    return edit.commit


def tags_by_commit(store: Store, branch: str) -> dict[str, list[str]]:
    """The tags of a branch's versions, and those without a branch in their name, by commit."""
    found: dict[str, list[str]] = {}
    for name, commit_id in store.tags(branch=branch).items():
        found.setdefault(commit_id, []).append(name)
    return found


def number_of(store: Store, rev: str, commit: Commit) -> tuple[str, int] | None:
    """The branch that a revision is a version of, and its number there."""
    numbered = re.fullmatch(r"(.+)@V(\d+)", rev)
    name = numbered[1] if numbered else rev.partition("@")[0]
    branch = store.branch(name)
    if not branch.exists:
        return None
    number = int(numbered[2]) if numbered else branch.number_of(commit.id)
    return None if number is None else (name, number)


def _history(store: Store, rev: str) -> Iterator[tuple[Commit, int | None]]:
    """A version and those before it, with the numbers that they have on their branch."""
    commit: Commit | None = store.resolve(rev)
    assert commit is not None
    named = number_of(store, rev, commit)
    number, first = (named[1], store.branch(named[0]).first_seq) if named else (0, 1)
    while commit is not None:
        yield commit, number if number >= first else None
        number -= 1
        commit = store.commit(commit.parents[0]) if commit.parents else None


def _log_row(
    commit: Commit, number: int | None, tags: Mapping[str, list[str]]
) -> tuple[object, ...]:
    boxes = commit.stats.layers.get("ground_truth")
    return (
        f"V{number}" if number else "-",
        commit.id[:12],
        time_title(commit.created_at),
        commit.author,
        commit.operation.kind,
        commit.stats.assets,
        boxes.rows if boxes else 0,
        ", ".join(tags.get(commit.id, ())) or "-",
        commit.message,
    )


def _log_record(
    commit: Commit, number: int | None, tags: Mapping[str, list[str]]
) -> dict[str, object]:
    stats = commit.stats
    return {
        "version": f"V{number}" if number else None,
        "commit": commit.id,
        "time": commit.created_at.isoformat(),
        "author": commit.author,
        "operation": commit.operation.kind,
        "images": stats.assets,
        "splits": {split or "none": count for split, count in stats.splits.items()},
        "layers": {name: layer.rows for name, layer in stats.layers.items()},
        "tags": tags.get(commit.id, []),
        "keywords": list(commit.keywords),
        "message": commit.message,
        "parents": list(commit.parents),
        "project": commit.project,
        "round": commit.round,
        "run": commit.run,
    }


def _short_lines(commit: Commit, tags: Mapping[str, list[str]], *, graph: bool) -> list[str]:
    named = f" ({', '.join(tags[commit.id])})" if commit.id in tags else ""
    line = f"{'* ' if graph else ''}{commit.id[:12]}{named} {commit.message}"
    merged = [f"|\\ {parent[:12]}" for parent in commit.parents[1:]] if graph else []
    return [line, *merged]


def _list_branches(repository: Repository, output: Output) -> None:
    rows = []
    for branch in repository.store.branches():
        tip, on_it = branch.tip(), branch.name == repository.head
        rows.append(
            (
                on_it if output.json else "*" * on_it,
                branch.name,
                f"V{branch.seq}",
                tip.id if output.json else tip.id[:12],
                tip.stats.assets,
                tip.message,
            )
        )
    columns = ("head", "branch", "version", "commit", "images", "message")
    output.table(columns, rows, right=("images",))


def _check_free(repository: Repository, name: str) -> None:
    if name == "HEAD" or repository.store.branch(name).exists:
        raise ConflictError(
            f"The branch `{name}` exists",
            code="branch-exists",
            hint=f"Use it with `mir checkout {name}`, or choose another name",
        )


def _delete_branch(repository: Repository, name: str) -> None:
    from mir_ops.rounds.beginning import refuse_training

    if name in (DEFAULT_BRANCH, repository.head):
        raise InvalidInputError(
            f"The branch `{name}` cannot be deleted: it is the default or checked out",
            code="branch-in-use",
            hint="Check another branch out first; the default one always stays",
        )
    refuse_training(repository.workspace.catalog, name)
    repository.store.branch(name).delete()


def _register_log(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser("log", help="Show the commits of a branch, newest first")
    add_sources(parser, "Branch or version (default: what is checked out)")
    parser.add_argument("-n", "--limit", type=int, metavar="N", help="Show at most this many")
    parser.add_argument("--oneline", action="store_true", help="One short line for each commit")
    parser.add_argument("--graph", action="store_true", help="Also what was merged, as lines")
    parser.add_argument("--dog", action="store_true", help="The same as `--oneline --graph`")
    parser.add_argument("--decorate", action="store_true", help=argparse.SUPPRESS)  # always
    parser.set_defaults(run=run_log)


def _register_branch(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser("branch", help="List, create, delete or restore branches")
    add = parser.add_argument
    add("name", nargs="?", metavar="NAME", help="Branch to create (default, or `list`: list them)")
    add("rev", nargs="?", metavar="REV", help="Where it starts (default: what is checked out)")
    add("-D", "--delete", dest="delete", metavar="NAME", help="Delete a branch")
    add("--restore", metavar="NAME", help="Bring a deleted branch back, with its history")
    parser.set_defaults(run=run_branch)


def _register_checkout(subparsers: argparse._SubParsersAction[Any]) -> None:
    for name in ("checkout", "co"):
        parser = subparsers.add_parser(
            name, help="Choose the branch or version that commands start from"
        )
        parser.add_argument("rev", metavar="REV", help="Branch, branch@V3, tag or commit")
        parser.add_argument("start", nargs="?", metavar="START", help="With -b: where it starts")
        parser.add_argument("-b", dest="create", action="store_true", help="Make it a new branch")
        parser.set_defaults(run=run_checkout)


def _register_tag(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "tag",
        help="List tags, or give a version a fixed name",
        description="A tag never moves. `branch@tid`, as `--dst-rev` makes it, is the usual form.",
    )
    add = parser.add_argument
    add("name", nargs="?", metavar="NAME", help="Tag to create (default, or `list`: list them)")
    add("rev", nargs="?", metavar="REV", help="What it names (default: what is checked out)")
    add(
        "--frozen",
        action="store_true",
        help="Freeze it as a test set: no training may read its images any more",
    )
    parser.set_defaults(run=run_tag)
