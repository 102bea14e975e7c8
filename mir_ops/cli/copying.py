"""`mir copy`: a dataset version of another repository or store."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mir_ops.cli.operations import (
    add_destination,
    add_sources,
    commit_once,
    destination_of,
    repository_of,
    say_done,
)
from mir_ops.cli.output import Output
from mir_ops.dataset.revisions import parse_source
from mir_ops.errors import InvalidInputError

if TYPE_CHECKING:
    from mir_ops.cli.repository import Repository
    from mir_ops.store import Commit, Store


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "copy",
        help="Copy a dataset version from another repository or store",
        description="Copy images, attributes, every layer of annotations, and the models that "
        "made them. Classes are matched by name and alias.",
    )
    add = parser.add_argument
    add("--src-root", metavar="DIR|URL", required=True, help="Repository or store to copy from")
    add_sources(parser, "Revision there")
    add("--src-user-label-file", metavar="FILE", help=argparse.SUPPRESS)  # names are versioned
    add(
        "--unknown-types-strategy",
        dest="unknown_classes",
        choices=("stop", "ignore", "add"),
        default="stop",
        help="Classes that are not known here: stop (default), leave their annotations out, or "
        "add them",
    )
    add(
        "--ignore-unknown-types",
        dest="unknown_classes",
        action="store_const",
        const="ignore",
        help="The same as `--unknown-types-strategy ignore`",
    )
    add("--drop-annotations", action="store_true", help="Copy the images alone")
    add_destination(parser)
    parser.set_defaults(run=run_copy)


def run_copy(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.dataset.copying import CopyResult, copy_dataset

    repository = repository_of(arguments)
    destination = destination_of(arguments)
    other = _repository(arguments.src_root)
    source = _store(arguments.src_root) if other is None else other.store
    version = source.resolve(_rev(arguments))
    results: list[CopyResult] = []
    models: list[str] = []
    taxonomy = repository.declared_classes()

    def copy(op_id: str) -> Any:
        models.extend(_copy_models(other, version, repository, output))
        results.append(
            copy_dataset(
                source,
                version.id,
                repository.store,
                destination.branch,
                unknown_classes=arguments.unknown_classes,
                drop_annotations=arguments.drop_annotations,
                taxonomy=taxonomy,
                op_id=op_id,
                message=arguments.message or f"Copy {_rev(arguments)}",
                on_progress=output.progress,
            )
        )
        return results[0].commit

    inputs = {
        "source": version.id,
        "unknown_classes": arguments.unknown_classes,
        "drop_annotations": arguments.drop_annotations,
    }
    done = commit_once(repository, destination, "copy", inputs, copy)
    left_out = dict(results[0].left_out)
    frozen = list(results[0].frozen)
    said = {"left_out": left_out, "models": models, "frozen": frozen}
    say_done(output, done, said, [*_lines(left_out, models), *(f"frozen: {tag}" for tag in frozen)])
    return 0


def _lines(left_out: Mapping[str, int], models: list[str]) -> list[str]:
    lines = [f"left out: {count} annotations of `{name}`" for name, count in left_out.items()]
    return [*lines, *(f"model: {model_id}" for model_id in models)]


def _copy_models(
    other: Repository | None, version: Commit, repository: Repository, output: Output
) -> list[str]:
    from mir_ops.executor.model_copies import copy_models, models_of

    if not models_of(version):
        return []
    if other is None:
        output.note(
            "Models stay behind: a store does not know their packages. Name the repository with "
            "`--src-root` to copy them along"
        )
        return []
    return [each.model_id for each in copy_models(other.workspace, version, repository.workspace)]


def _repository(root: str) -> Repository | None:
    from mir_ops.cli.repository import FOLDER, find_repository

    if "://" in root or not (Path(root) / FOLDER).is_dir():
        return None
    return find_repository(root)


def _store(root: str) -> Store:
    """The store at a URL or in a folder."""
    from mir_ops.store import Store

    return Store.open(root)


def _rev(arguments: argparse.Namespace) -> str:
    given = arguments.src_revs or arguments.rev
    if not given or given.partition("@")[0] == "HEAD":
        raise InvalidInputError(
            "Which revision to copy is not said",
            code="bad-revision",
            hint="Name a branch of the other repository, or `branch@tid`, with `--src-revs`",
        )
    return parse_source(given).rev
