"""`mir stats`: histograms of a dataset version, its balance, and what is worth a look."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mir_ops.arrow import load_rows
from mir_ops.cli.operations import add_sources, repository_of, source_of
from mir_ops.cli.output import Output, counted, layer_title

if TYPE_CHECKING:
    from mir_ops.dataset.histograms import Analysis, Histogram


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "stats",
        help="Show histograms of images and annotations, and what is out of balance",
        description="Count images and annotations by size, quality, class and density, and "
        "suggest what to look at.",
    )
    add_sources(parser, "Revision to look at (default: the branch checked out)")
    parser.add_argument("--pictures", metavar="DIR", help="Write the histograms there, as SVG")
    parser.set_defaults(run=run_stats)


def run_stats(arguments: argparse.Namespace, output: Output) -> int:
    load_rows()
    from mir_ops.dataset.histograms import analyse

    repository = repository_of(arguments)
    source = source_of(arguments, repository)
    analysis = analyse(repository.store.read(source.rev))
    written: list[Path] = []
    if arguments.pictures:
        from mir_ops.dataset.pictures import write_pictures

        written = write_pictures(analysis, Path(arguments.pictures))
    if output.json:
        pictures = [str(path) for path in written]
        output.record({"rev": source.rev, **analysis.to_dict(), "pictures": pictures})
    else:
        _show(source.rev, analysis, output)
    if written:
        output.note(f"Wrote {len(written)} pictures to {arguments.pictures}")
    return 0


def _show(rev: str, analysis: Analysis, output: Output) -> None:
    splits = ", ".join(
        f"{'no split' if name == 'none' else name}: {count}"
        for name, count in analysis.splits.items()
    )
    images = counted(analysis.images, "images") + (f" ({splits})" if splits else "")
    output.record({}, [f"{rev} {analysis.commit[:12]}: {images}"])
    for name, values in analysis.attributes.items():
        listed = ", ".join(f"{value} ({count})" for value, count in list(values.items())[:8])
        output.record({}, [f"{name}: {listed}"])
    _show_histograms(analysis.histograms, output)
    for layer in analysis.layers:
        boxes, images = counted(layer.boxes, "annotations"), counted(layer.positive, "images")
        title = layer_title(layer.name)
        output.record({}, ["", f"{title}: {boxes} on {images}, {layer.negative} empty"])
        rows = [(one.name, one.boxes, one.images) for one in layer.classes]
        output.table(("class", "annotations", "images"), rows, right=("annotations", "images"))
        _show_histograms(layer.histograms, output)
    for suggestion in analysis.suggestions:
        output.note(f"\nsuggestion: {suggestion.text}")


def _show_histograms(histograms: Sequence[Histogram], output: Output) -> None:
    for histogram in histograms:
        if not any(histogram.counts):
            continue
        unit = f" ({histogram.unit})" if histogram.unit else ""
        output.record({}, ["", f"{histogram.name}{unit}"])
        most = max(histogram.counts)
        width = max(map(len, histogram.labels))
        for label, count in zip(histogram.labels, histogram.counts, strict=True):
            bar = "█" * round(30 * count / most)
            output.record({}, [f"  {label.rjust(width)}  {count:>9}  {bar}".rstrip()])
