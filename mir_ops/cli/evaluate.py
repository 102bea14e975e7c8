"""`mir evaluate`: how good a model's predictions in a dataset version are."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mir_ops.cli.operations import (
    add_destination,
    add_sources,
    commit_once,
    destination_of,
    names_of,
    repository_of,
    say_done,
    source_of,
)
from mir_ops.cli.output import Output
from mir_ops.errors import InvalidInputError

if TYPE_CHECKING:
    from mir_ops.cli.repository import Repository
    from mir_ops.evaluation import Evaluation, Material, Settings
    from mir_ops.store import Commit


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "evaluate",
        help="Measure a model's predictions against the ground truth",
        description="COCO's metrics of the predictions in a version, thresholds, confusion and "
        "kinds of mistakes. With `--to` the mark of every box is kept in a new version.",
    )
    add_sources(parser, "Revision with the predictions (default: what is checked out)")
    add_measured(parser)
    add = parser.add_argument
    add("--iou", type=_share, default=0.5, metavar="T", help="IoU of marks and mistakes (0.5)")
    add(
        "--confidence",
        "--conf-thr",
        type=_share,
        metavar="T",
        help="Least confidence of marks and mistakes (default: that of the best F1)",
    )
    add("--by", action="append", default=[], metavar="WHAT", help="Slice by `split`, `source` or "
        "`attribute:NAME`; may be repeated")  # fmt: skip
    add("--precision", type=_share, action="append", metavar="P", help="Recall at this precision")
    add("--recall", type=_share, action="append", metavar="R", help="Precision at this recall")
    add("--curves", "--need-pr-curve", action="store_true", help="Precision-recall curves (JSON)")
    add("--masks", action="store_true", help="Also COCO's metrics of masks and polygons")
    add("--semantic", action="store_true", help="Also mIoU, mAcc and aAcc of pixels")
    add("--voc", action="store_true", help="Also YMIR's own average precision")
    add("--iou-thrs", metavar="FROM:TO:STEP", help="IoUs of --voc, the end excluded (0.5)")
    add_destination(parser)
    parser.set_defaults(run=run_evaluate)


def add_measured(parser: argparse.ArgumentParser) -> None:
    """The options that say what is measured, shared with `mir compare`."""
    add = parser.add_argument
    add("--ground-truth", "--gt-rev", dest="truth", metavar="REV",
        help="Revision whose ground truth counts (default: the same)")  # fmt: skip
    add("--layer", metavar="NAME", help="Layer of predictions, or model (default: the only one)")
    add("--classes", metavar="'a;b'", help="Classes to measure (default: all that occur)")
    add("--split", choices=("train", "val", "test"), help="Images of this split only")


def run_evaluate(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.evaluation.versions import evaluate_material

    repository = repository_of(arguments)
    settings = _settings(arguments)
    rev = source_of(arguments, repository).rev
    shapes = settings.masks or settings.semantic
    material = read(arguments, repository, rev, arguments.layer, shapes=shapes)
    evaluation = evaluate_material(material, settings)
    lines = _lines(evaluation.report)
    if arguments.to:
        _keep(arguments, repository, material, evaluation, output, lines)
    else:
        output.record(evaluation.report, lines)
    return 0


def read(
    arguments: argparse.Namespace,
    repository: Repository,
    rev: str,
    layer: str | None,
    *,
    shapes: bool = False,
) -> Material:
    """The predictions of a revision beside the ground truth that was asked for."""
    from mir_ops.arrow import spare_pandas
    from mir_ops.evaluation.materials import classes_named, read_material

    spare_pandas()
    found = repository.store.read(rev)
    truth = repository.store.read(repository.revision(arguments.truth)) if arguments.truth else None
    return read_material(
        truth or found,
        found,
        layer=layer,
        classes=classes_named(truth or found, names_of(arguments.classes)),
        split=arguments.split,
        shapes=shapes,
    )


def _keep(
    arguments: argparse.Namespace,
    repository: Repository,
    material: Material,
    evaluation: Evaluation,
    output: Output,
    lines: list[str],
) -> None:
    from mir_ops.evaluation.versions import commit_marks

    store, origin, report = repository.store, evaluation.origin, evaluation.report
    destination = destination_of(arguments)

    def commit(op_id: str) -> Commit:
        return commit_marks(
            store,
            store.read(origin.ground_truth),
            material,
            evaluation,
            branch=destination.branch,
            op_id=op_id,
            message=arguments.message or f"Evaluate {origin.layer}",
        )

    inputs = {
        "ground_truth": origin.ground_truth,
        "predictions": origin.predictions,
        "layer": origin.layer,
        "split": origin.split,
        "classes": list(origin.classes),
        "iou": report["iou"],
        "confidence": report["confidence"],
    }
    done = commit_once(repository, destination, "evaluate", inputs, commit)
    say_done(output, done, report, lines)


def _settings(arguments: argparse.Namespace) -> Settings:
    from mir_ops.evaluation.versions import Settings

    ious = _interval(arguments.iou_thrs or "0.5")
    return Settings(
        iou=arguments.iou,
        confidence=arguments.confidence,
        by=tuple(arguments.by),
        precision=tuple(arguments.precision or (0.9,)),
        recall=tuple(arguments.recall or (0.9,)),
        curves=arguments.curves,
        voc=ious if arguments.voc or arguments.iou_thrs else None,
        masks=arguments.masks,
        semantic=arguments.semantic,
    )


def _interval(text: str) -> tuple[float, ...]:
    """`0.5` or `0.5:1.0:0.05`, as YMIR 1.x and 2.0 read it: the end is excluded."""
    import numpy as np

    try:
        numbers = [float(part) for part in text.split(":")]
        first, end, step = numbers if len(numbers) == 3 else (*numbers, numbers[0] + 0.5, 0.5)
    except (ValueError, IndexError):
        raise _bad_interval(text) from None
    if not (0 < first < end and step >= 0.001):
        raise _bad_interval(text)
    count = max(1, round((end - first) / step))
    return tuple(np.linspace(first, end, count, endpoint=False).tolist())


def _bad_interval(text: str) -> InvalidInputError:
    return InvalidInputError(
        f"`{text}` is no interval of IoUs",
        code="bad-threshold",
        hint="Write `0.5`, or `0.5:1.0:0.05` for 0.50, 0.55 … 0.95",
    )


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("it must be between 0 and 1")
    return value


def _lines(report: Mapping[str, Any]) -> list[str]:
    origin, metrics, marks = report["origin"], report["metrics"], report["marks"]
    skipped = [
        f"{origin[name]} {text}"
        for name, text in (("not_labelled", "not labelled"), ("not_predicted", "not predicted on"))
        if origin[name]
    ]
    coco = ", ".join(f"{name} {_number(value)}" for name, value in metrics["coco"].items())
    gains = report["mistakes"]["gains"]
    mistakes = [
        f"{name} {count} (+{gains[name]:.3f})"
        for name, count in report["mistakes"]["counts"].items()
        if count
    ]
    return [
        f"{origin['layer']} in {origin['predictions'][:12]}, ground truth "
        f"{origin['ground_truth'][:12]}: {origin['images']} images, {metrics['boxes']} boxes, "
        f"{metrics['predictions']} predictions",
        *([f"left out: {', '.join(skipped)} images"] if skipped else []),
        coco,
        f"at IoU {report['iou']:g} and confidence {report['confidence']:.4g}: {marks['tp']} right, "
        f"{marks['fp']} wrong, {marks['fn']} missed",
        f"mistakes, and what mending them would gain in mAP: {', '.join(mistakes) or 'none'}",
        *_table(metrics["per_class"], report["thresholds"]["per_class"]),
        *(_slice_line(each) for each in report["slices"]),
        *_more_lines(report),
    ]


def _table(
    per_class: Mapping[str, Mapping[str, Any]], points: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    lines = []
    for name, each in per_class.items():
        best = points[name]["best_f1"]
        cut = f", best F1 {best['f1']:.3f} at {best['confidence']:.3f}" if best else ""
        lines.append(
            f"{_clean(name)}: AP {each['ap']:.3f}, AP50 {each['ap50']:.3f}, recall50 "
            f"{each['recall50']:.3f}, {each['boxes']} boxes{cut}"
        )
    return lines


def _slice_line(each: Mapping[str, Any]) -> str:
    coco = each["coco"]
    return (
        f"{_clean(each['by'])} {_clean(each['value'])}: AP {_number(coco['AP'])}, AP50 "
        f"{_number(coco['AP50'])}, {each['images']} images, {each['boxes']} boxes"
    )


def _more_lines(report: Mapping[str, Any]) -> list[str]:
    lines = []
    if masks := report.get("masks"):
        coco = ", ".join(f"{name} {_number(value)}" for name, value in masks["coco"].items())
        lines.append(f"masks: {coco}")
    if pixels := report.get("semantic"):
        means = (f"{name} {_number(pixels[name.lower()])}" for name in ("mIoU", "mAcc", "aAcc"))
        lines.append(f"pixels: {', '.join(means)}")
    if voc := report.get("voc"):
        mean = voc["mean"]
        lines.append(
            f"YMIR: mAP {mean['ap']:.6f}, tp {mean['tp']}, fp {mean['fp']}, fn {mean['fn']}, "
            f"at IoU {', '.join(voc['per_iou'])}"
        )
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _clean(text: str) -> str:
    return "".join(char if char.isprintable() else "�" for char in text)
