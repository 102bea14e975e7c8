"""`mir import`: images and annotations in."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mir_ops.cli.operations import (
    add_destination,
    commit_once,
    destination_of,
    repository_of,
    say_done,
)
from mir_ops.cli.output import Output
from mir_ops.errors import InvalidInputError

if TYPE_CHECKING:
    from mir_ops.store import Commit

# What YMIR calls annotation types, and the format that they are read as.
_ANNOTATION_TYPES = {
    **dict.fromkeys(("det", "det-box", "det:voc", "voc"), "voc"),
    **dict.fromkeys(("no-annos", "no-annos:none", "none"), "none"),
}
_SPLITS = ("train", "val", "test")


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    _register_import(subparsers)


def run_import(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.dataset import ImportResult, import_dataset, source_digest
    from mir_ops.taxonomy import add_labels

    repository = repository_of(arguments)
    destination = destination_of(arguments)
    source, index_file = _import_source(arguments)
    gt_dir, pred_dir = _path(arguments.gt_dir), _path(arguments.pred_dir)
    annotations = _annotation_format(arguments.anno_type)
    store = repository.store
    parents = [repository.resolve(arguments.src_revs)] if arguments.src_revs else []
    taxonomy = repository.declared_classes()
    strategy = arguments.unknown_types_strategy
    inputs = {
        "source": source_digest(source, index_file=index_file, gt_dir=gt_dir, pred_dir=pred_dir),
        "annotations": annotations,
        "unknown_classes": strategy,
        "split": arguments.split,
        "parents": [commit.id for commit in parents],
    }
    results: list[ImportResult] = []

    def commit(op_id: str) -> Commit:
        result = import_dataset(
            store,
            source,
            destination.branch,
            op_id=op_id,
            annotations=annotations,
            unknown_classes=strategy,
            split=arguments.split,
            message=arguments.message,
            parents=parents,
            index_file=index_file,
            taxonomy=taxonomy,
            on_progress=output.progress,
            gt_dir=gt_dir,
            pred_dir=pred_dir,
        )
        results.append(result)
        return result.commit

    done = commit_once(repository, destination, "import", inputs, commit)
    result = results[0]
    if result.new_classes and repository.labels_path.exists():
        add_labels(repository.labels_path, result.new_classes)
    if arguments.report:
        _write_json(Path(arguments.report), result.report.to_dict(examples=1_000_000))
    report = result.report.to_dict()
    extra = {"report": report, "new_classes": list(result.new_classes)}
    say_done(output, done, extra, result.report.lines())
    return 0


def _register_import(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "import",
        help="Import images and annotations into a dataset",
        description="Import a zip archive or a folder with `images/` (or `JPEGImages/`) and "
        "`annotations/` (or `gt/`), or images alone. What is not taken is counted and listed.",
    )
    add = parser.add_argument
    add("source", nargs="?", metavar="SOURCE", help="Zip archive, folder or index file")
    add("--asset-path", dest="asset_path", metavar="SOURCE", help=argparse.SUPPRESS)
    add("--index-file", metavar="FILE", help="List of image paths, one a line")
    add("--gt-dir", "--annotation-dir", metavar="DIR", help="Annotation files of the images")
    add("--pred-dir", metavar="DIR", help="Prediction files of the images")
    add(
        "--unknown-types-strategy",
        choices=("stop", "ignore", "add"),
        default="stop",
        help="Classes that `labels.yaml` lacks: stop (default), ignore their objects, or add them",
    )
    add(
        "--ignore-unknown-types",
        dest="unknown_types_strategy",
        action="store_const",
        const="ignore",
        help="The same as `--unknown-types-strategy ignore`",
    )
    add(
        "--anno-type",
        "--anno-type-fmt",
        dest="anno_type",
        default="det-box",
        metavar="TYPE",
        help="det-box (default) reads Pascal VOC, no-annos images only",
    )
    add("--split", choices=_SPLITS, help="What the images are for")
    add("--src-revs", "--src-rev", dest="src_revs", metavar="REV", help="Record this as parent")
    add("--report", metavar="FILE", help="Write the whole report here, as JSON")
    for accepted in ("--gen-dir", "--dataset-name"):  # YMIR's; the store keeps the images here
        add(accepted, metavar="X", help=argparse.SUPPRESS)
    add_destination(parser)
    parser.set_defaults(run=run_import)


def _import_source(arguments: argparse.Namespace) -> tuple[Path, Path | None]:
    """The source, and the index file if that is what it is."""
    given = arguments.source or arguments.asset_path
    if (given is None) == (arguments.index_file is None):
        raise InvalidInputError(
            "Give one source to import",
            code="no-source",
            hint="Name a zip archive or a folder, or an index file with `--index-file`",
        )
    if given is None or Path(given).suffix.lower() in (".txt", ".tsv", ".csv"):
        index = Path(given or arguments.index_file)
        return index, index
    return Path(given), None


def _annotation_format(kind: str) -> Any:
    try:
        return _ANNOTATION_TYPES[kind]
    except KeyError:
        raise InvalidInputError(
            f"Annotations of type `{kind}` cannot be imported",
            code="bad-annotation-type",
            hint=f"Use one of {', '.join(_ANNOTATION_TYPES)}",
        ) from None


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    import json

    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
