"""`mir export`: a dataset version out to folders, in the formats that others read."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mir_ops.cli.operations import add_sources, names_of, repository_of, source_of
from mir_ops.cli.output import Output
from mir_ops.errors import InvalidInputError

if TYPE_CHECKING:
    from mir_ops.dataset.exporting import ExportFolders, ExportFormat

# Spellings of both generations of YMIR, and the format that is written.
_FORMATS: Final[dict[str, ExportFormat]] = {
    **dict.fromkeys(("voc", "det-voc", "det:voc"), "voc"),
    **dict.fromkeys(("coco", "det-coco", "det:coco", "seg-coco", "ins-seg:coco"), "coco"),
    **dict.fromkeys(("yolo", "det-yolo", "seg-yolo"), "yolo"),
    **dict.fromkeys(("ark", "det-ark", "det:ark"), "ark"),
    **dict.fromkeys(("none", "no-annotations", "no-annos:none"), "none"),
}


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "export",
        help="Write a dataset version to a folder",
        description="`--to DIR` writes images and annotations in a layout that `mir import` reads "
        "again. What the format has no place for is counted.",
    )
    add_sources(parser, "Revision to export (default: the branch checked out)")
    add = parser.add_argument
    add("--to", metavar="DIR", help="Write images, annotations and lists of splits here")
    add("--asset-dir", metavar="DIR", help="Write images here, in sub-folders as YMIR does")
    add("--gt-dir", "--annotation-dir", metavar="DIR", help="Write ground truth here")
    add("--pred-dir", metavar="DIR", help="Write predictions here")
    add(
        "--anno-format",
        "--format",
        default="voc",
        metavar="F",
        help="voc (default), coco, yolo, ark or none",
    )
    add("--asset-format", default="raw", metavar="F", help="raw, the only one")
    add("--class_names", "--class-names", dest="class_names", metavar="'A;B'", help="Only these")
    add(
        "--names",
        choices=("sha1", "original"),
        default="sha1",
        help="Name files by their SHA-1 as YMIR does (default), or as they came",
    )
    for accepted in ("--media-location", "-w"):  # YMIR's; the store keeps the images here
        add(accepted, metavar="DIR", help=argparse.SUPPRESS)
    parser.set_defaults(run=run_export)


def run_export(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.dataset import export_dataset

    repository = repository_of(arguments)
    source = source_of(arguments, repository)
    annotations = _format_of(arguments)
    folders = _folders(arguments, annotations)
    report = export_dataset(
        repository.store,
        source.rev,
        folders,
        annotations=annotations,
        names=arguments.names,
        sub_folders=not arguments.to,
        class_names=names_of(arguments.class_names),
        on_progress=output.progress,
    )
    output.record({"rev": source.rev, **report.to_dict()}, report.lines())
    where = [folders.root] if folders.root else folders.named().values()
    output.note(f"Written: {', '.join(map(str, where))}")
    return 0


def _folders(arguments: argparse.Namespace, annotations: ExportFormat) -> ExportFolders:
    from mir_ops.dataset import ExportFolders

    if arguments.gt_dir and arguments.pred_dir:
        _check_apart(Path(arguments.gt_dir), Path(arguments.pred_dir))
    annotated = annotations != "none"
    predictions = _path(arguments.pred_dir) if annotated else None
    if arguments.to:
        return ExportFolders.under(Path(arguments.to), annotations, predictions=predictions)
    return ExportFolders(
        images=_path(arguments.asset_dir),
        ground_truth=_path(arguments.gt_dir) if annotated else None,
        predictions=predictions,
    )


def _check_apart(truth: Path, predictions: Path) -> None:
    if truth.resolve() == predictions.resolve():
        raise InvalidInputError(
            f"Ground truth and predictions cannot both go to `{truth}`: their files have one name",
            code="one-folder-for-two",
            hint="Give `--gt-dir` and `--pred-dir` folders of their own",
        )


def _format_of(arguments: argparse.Namespace) -> ExportFormat:
    if arguments.to is None and arguments.asset_dir is None:
        raise InvalidInputError(
            "No folder to export to is given",
            code="no-destination",
            hint="Add `--to DIR`, or `--asset-dir DIR`",
        )
    if arguments.anno_format not in _FORMATS or arguments.asset_format != "raw":
        raise InvalidInputError(
            f"Cannot export as `{arguments.anno_format}:{arguments.asset_format}`",
            code="bad-export-format",
            hint="Use `--anno-format voc`, `coco`, `yolo`, `ark` or `none`, and"
            " `--asset-format raw`",
        )
    return _FORMATS[arguments.anno_format]


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
