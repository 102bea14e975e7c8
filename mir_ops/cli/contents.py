"""`mir show, diff`: what is in a dataset version, and what changed."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from mir_ops.cli.history import number_of, tags_by_commit
from mir_ops.cli.operations import add_sources, repository_of, source_of
from mir_ops.cli.output import Output, counted, layer_title
from mir_ops.dataset.revisions import parse_source
from mir_ops.errors import InvalidInputError

if TYPE_CHECKING:
    from mir_ops.store.diffs import Diff

_TYPES: Final = {"tr": "training", "va": "validation", "te": "test", "unknown": "others"}
_LISTED: Final = 50


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    _register_show(subparsers)
    _register_diff(subparsers)


def run_show(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.dataset.counting import counts, statistics

    repository = repository_of(arguments)
    source = source_of(arguments, repository)
    version = repository.store.read(source.rev)
    commit = version.commit
    tags = tags_by_commit(repository.store, source.rev.partition("@")[0]).get(commit.id, [])
    number = number_of(repository.store, source.rev, commit)
    name = f"{number[0]}@V{number[1]}" if number else source.rev
    numbers = statistics(version) if arguments.verbose else counts(version)
    record = {
        "rev": source.rev,
        "version": name,
        "tags": tags,
        "keywords": list(commit.keywords),
        "operation": commit.operation.kind,
        "author": commit.author,
        "message": commit.message,
        "created_at": commit.created_at.isoformat(),
        "parents": list(commit.parents),
        "classes": version.taxonomy.names,
        **numbers,
    }
    lines = [*_block_of_ymir(record), "", f"{name} {commit.id[:12]}: {commit.message}"]
    made = f"{commit.operation.kind} by {commit.author}"
    lines.append(f"{made}, {commit.created_at:%Y-%m-%d %H:%M:%S} UTC")
    lines += [f"tags: {', '.join(tags)}"] if tags else []
    lines.append(f"classes: {_listed(version.taxonomy.names)}")
    if arguments.verbose:
        record["parameters"] = dict(commit.operation.parameters)
        record["inputs"] = list(commit.operation.inputs)
        lines += _verbose_lines(record)
    output.record(record, lines)
    if not output.json:
        _show_layers(numbers["layers"], output)
    return 0


def run_diff(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.dataset.diff_records import CHANGES, class_rows, diff_record

    repository = repository_of(arguments)
    store = repository.store
    given = [*(arguments.src_revs or "").split(";"), *arguments.revs]
    revs = [parse_source(rev).rev for rev in given if rev]
    if not 1 <= len(revs) <= 2:
        raise InvalidInputError(
            f"A comparison needs two revisions, not {len(revs)}",
            code="bad-revision",
            hint="Name the older one first: `mir diff street@V1 street`",
        )
    first, second = (store.read(repository.revision(rev)) for rev in [*revs, "HEAD"][:2])
    diff = store.diff(first, second)
    if output.json:
        output.record(diff_record(first, second, diff))
        return 0
    output.record({}, _diff_lines(diff))
    rows = [
        (layer_title(layer), name, *counts)
        for layer, name, counts in class_rows(first, second, diff)
    ]
    if rows:
        output.table(("layer", "class", *CHANGES), rows, right=CHANGES)
    return 0


def _block_of_ymir(shown: Mapping[str, Any]) -> list[str]:
    """What `mir show` of YMIR 1.1 prints: classes, keywords, images, annotations, task."""
    layers, splits = shown["layers"], shown["splits"]
    classes = dict.fromkeys(name for layer in layers.values() for name in layer["classes"])
    tids = [tag.partition("@")[2] for tag in shown["tags"] if "@" in tag]
    hid = tids[-1] if tids else shown["commit"][:12]
    counted = ", ".join(f"{short}: {splits[name]}" for short, name in _TYPES.items())
    labelled = layers.get("ground_truth", {}).get("images", 0)
    return [
        ";".join(classes),
        ";".join(shown["keywords"]),
        f"metadatas.mir: {shown['images']} assets, {counted}",
        f"annotations.mir: hid: {hid}, {labelled} assets",
        f"tasks.mir: hid: {hid}",
    ]


def _verbose_lines(shown: Mapping[str, Any]) -> list[str]:
    ranges = (("width", shown["width"]), ("height", shown["height"]))
    lines = [f"bytes: {shown['bytes']}"]
    lines += [f"{name}: {span[0]} to {span[1]} pixels" for name, span in ranges if span]
    lines += [f"{name}: {count} images" for name, count in sorted(shown["formats"].items())]
    lines += [f"parameter {name}: {value}" for name, value in shown["parameters"].items()]
    return lines + [f"input: {commit_id}" for commit_id in shown["inputs"]]


def _show_layers(layers: Mapping[str, Any], output: Output) -> None:
    rows = []
    for name, layer in layers.items():
        name = layer_title(name)
        rows.append((name, "(all)", layer["images"], layer["rows"]))
        for class_name, counts in layer["classes"].items():
            rows.append((name, class_name, counts["images"], counts["boxes"]))
    if rows:
        output.record({}, [""])
        columns = ("layer", "class", "images", "boxes")
        output.table(columns, rows, right=("images", "boxes"))


def _listed(names: Sequence[str]) -> str:
    shown = ";".join(names[:_LISTED]) or "-"
    more = len(names) - _LISTED
    return f"{shown} and {more} more" if more > 0 else shown


def _diff_lines(diff: Diff) -> list[str]:
    changed = f"+{diff.assets_added} -{diff.assets_removed}, {diff.assets_changed} changed"
    lines = [f"images: {changed}, {diff.split_moved} moved to another split"]
    for (old, new), count in diff.splits.items():
        lines.append(f"split {old or 'none'} to {new or 'none'}: {counted(count, 'images')}")
    for name, (added, removed, other) in diff.attributes.items():
        lines.append(f"attribute {name}: +{added} -{removed}, {other} changed")
    for name, (added, removed, other) in diff.layer_assets.items():
        if added or removed or other:
            title = layer_title(name)
            lines.append(f"{title}: +{added} -{removed} images, {other} with other rows")
    lines += [f"class added: {name}" for name in diff.classes_added.values()]
    lines += [f"class removed: {name}" for name in diff.classes_removed.values()]
    lines += [f"class renamed: {old} to {new}" for old, new in diff.classes_renamed.values()]
    named = diff.classes_added or diff.classes_removed or diff.classes_renamed
    return lines + (["aliases of classes changed"] if diff.taxonomy_changed and not named else [])


def _register_show(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser("show", help="Show what is in a dataset version")
    add_sources(parser, "Revision to show (default: the branch checked out)")
    parser.add_argument("--verbose", action="store_true", help="Also how it was made")
    parser.set_defaults(run=run_show)


def _register_diff(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser("diff", help="Show what changed between two dataset versions")
    parser.add_argument(
        "revs", nargs="*", metavar="REV", help="From the first to the second (default: HEAD)"
    )
    parser.add_argument("--src-revs", "--src-rev", dest="src_revs", help="The same, joined by `;`")
    parser.set_defaults(run=run_diff)
