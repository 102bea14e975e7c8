"""What the commands that commit have in common: destination, operation id, tag, and the answer."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mir_ops.cli.output import Output, counted, layer_title
from mir_ops.cli.repository import Repository, find_repository
from mir_ops.dataset.revisions import Destination, Source, parse_destination, parse_source
from mir_ops.errors import ConflictError, InvalidInputError

if TYPE_CHECKING:
    from mir_ops.store import Commit


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A commit that a command made, or had made before."""

    commit: Commit
    destination: Destination
    again: bool


def add_destination(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--to", "--dst-rev", dest="to", metavar="REV", help="Branch, or branch@tid to tag it"
    )
    parser.add_argument("-m", "--message", type=_text, help="Message of the commit")
    parser.add_argument("-w", dest="work_dir", metavar="DIR", help=argparse.SUPPRESS)


def add_sources(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("rev", nargs="?", metavar="REV", help=text)
    # Absent is None; the positional is read when the option is not given.
    parser.add_argument(
        "--src-revs", "--src-rev", dest="src_revs", metavar="REVS", help=argparse.SUPPRESS
    )


def repository_of(arguments: argparse.Namespace) -> Repository:
    return find_repository(arguments.root, labels=arguments.user_label_file)


def source_of(arguments: argparse.Namespace, repository: Repository) -> Source:
    """The one revision that a command reads; the checked-out branch when none is given."""
    source = parse_source(arguments.src_revs or arguments.rev or "HEAD")
    return Source(rev=repository.revision(source.rev), split=source.split)


def destination_of(arguments: argparse.Namespace) -> Destination:
    if not arguments.to:
        raise InvalidInputError(
            "No destination is given",
            code="no-destination",
            hint=f"Add `--to BRANCH`, or `--dst-rev BRANCH@TID`{_if_cut(arguments)}",
        )
    destination = parse_destination(arguments.to)
    if destination.branch == "HEAD" or re.fullmatch(r"V\d+", destination.tid or ""):
        raise InvalidInputError(
            f"`{destination}` cannot be a destination: HEAD and V1, V2 … name what exists",
            code="bad-revision",
            hint="Choose another name",
        )
    return destination


def commit_once(
    repository: Repository,
    destination: Destination,
    command: str,
    inputs: Mapping[str, Any],
    commit: Callable[[str], Commit],
) -> Done:
    """Do it under the operation id of destination and inputs; tag it, and check the branch out."""
    from mir_ops.arrow import spare_pandas
    from mir_ops.store import operation_id

    spare_pandas()
    store = repository.store
    op_id = operation_id(f"cli/{destination}", {"command": command, **inputs})
    again = store.find_operation(destination.branch, op_id) is not None
    if destination.tag and not again and (tagged := store.find_tag(destination.tag)):
        raise ConflictError(
            f"The tag `{destination.tag}` exists: commit {tagged.id[:12]}",
            code="tag-exists",
            hint="Choose another tid: what a tag names never changes",
        )
    made = commit(op_id)
    if destination.tag:
        store.create_tag(destination.tag, made.id)
    repository.move_head(destination.branch)
    return Done(commit=made, destination=destination, again=again)


def say_done(output: Output, done: Done, extra: Mapping[str, Any], lines: list[str]) -> None:
    commit, stats = done.commit, done.commit.stats
    if done.again:
        output.note("This was done before: nothing changed")
    boxes = {name: layer.rows for name, layer in stats.layers.items()}
    layers = (f"{rows} {layer_title(name)}" for name, rows in boxes.items())
    content = ", ".join([counted(stats.assets, "images"), *layers])
    output.record(
        {
            "branch": done.destination.branch,
            "tag": done.destination.tag,
            "commit": commit.id,
            "operation": commit.operation.kind,
            "again": done.again,
            "images": stats.assets,
            "layers": boxes,
            **extra,
        },
        [f"{done.destination} {commit.id[:12]}: {content}", *lines],
    )


def _if_cut(arguments: argparse.Namespace) -> str:
    """What a shell does to lists is of use to those who gave one."""
    if not getattr(arguments, "src_revs", None) and not getattr(arguments, "revs", None):
        return ""
    return ". The shell cuts a list at `;` unless it is quoted: `--src-revs 'tr:a@x;va:b@y'`"


def names_of(text: str | None) -> list[str]:
    """Names joined by `;`."""
    return [name.strip() for name in (text or "").split(";") if name.strip()]


def _text(given: str) -> str:
    if not given.isascii() and any("\ud800" <= char <= "\udfff" for char in given):
        raise argparse.ArgumentTypeError("it is not UTF-8")
    return given
