"""`mir show, diff`: what is in a dataset version, and what changed."""

from __future__ import annotations

import argparse
from typing import Any

from mir_ops.cli.operations import (
    add_sources,
    repository_of,
    source_of,
)
from mir_ops.cli.output import Output


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    _register_show(subparsers)
    _register_diff(subparsers)


def run_show(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.dataset import statistics

    repository = repository_of(arguments)
    source = source_of(arguments, repository)
    version = repository.store.read(source.rev)
    numbers = statistics(version)
    commit = version.commit
    lines = [
        f"{source.rev} {commit.id[:12]}: {commit.message}",
        f"operation: {commit.operation.kind}, {commit.created_at:%Y-%m-%d %H:%M:%S} UTC",
        f"classes: {';'.join(version.taxonomy.names) or '-'}",
        f"assets: {numbers['assets']} ("
        + ", ".join(f"{name}: {count}" for name, count in numbers["splits"].items())
        + ")",
    ]
    for name, layer in numbers["layers"].items():
        lines.append(f"{name}: {layer['assets']} images, {layer['rows']} rows")
        for class_name, counts in layer["classes"].items():
            lines.append(f"  {class_name}: {counts['boxes']} in {counts['assets']} images")
    record = {
        "rev": source.rev,
        "operation": commit.operation.kind,
        "message": commit.message,
        "created_at": commit.created_at.isoformat(),
        "classes": version.taxonomy.names,
        **numbers,
    }
    if arguments.verbose:
        lines += [f"{name}: {value}" for name, value in commit.operation.parameters.items()]
        record["parameters"] = dict(commit.operation.parameters)
    output.record(record, lines)
    return 0


def run_diff(arguments: argparse.Namespace, output: Output) -> int:
    repository = repository_of(arguments)
    store = repository.store
    first, second = (store.read(repository.revision(rev)) for rev in arguments.revs)
    diff = store.diff(first, second)
    names = dict(zip(first.taxonomy.ids, first.taxonomy.names, strict=True))
    names |= dict(zip(second.taxonomy.ids, second.taxonomy.names, strict=True))
    rows = [
        (layer, names.get(class_id, f"#{class_id}"), *counts)
        for layer, classes in diff.layers.items()
        for class_id, counts in sorted(classes.items())
    ]
    if not output.json:
        output.record(
            {},
            [
                f"images: +{diff.assets_added} -{diff.assets_removed}, "
                f"{diff.split_moved} moved to another split"
            ],
        )
        if rows:
            columns = ("layer", "class", "added", "removed", "changed")
            output.table(columns, rows, right=("added", "removed", "changed"))
        return 0
    keys = ("layer", "class", "added", "removed", "changed")
    output.record(
        {
            "from": first.id,
            "to": second.id,
            "assets_added": diff.assets_added,
            "assets_removed": diff.assets_removed,
            "split_moved": diff.split_moved,
            "classes": [dict(zip(keys, row, strict=True)) for row in rows],
        }
    )
    return 0


def _register_show(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser("show", help="Show what is in a dataset version")
    add_sources(parser, "Revision to show (default: the branch checked out)")
    parser.add_argument("--verbose", action="store_true", help="Also how it was made")
    parser.set_defaults(run=run_show)


def _register_diff(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser("diff", help="Show what changed between two dataset versions")
    parser.add_argument("revs", nargs=2, metavar="REV", help="From the first to the second")
    parser.set_defaults(run=run_diff)
