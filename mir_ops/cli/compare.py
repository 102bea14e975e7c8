"""`mir compare`: whether one model's predictions are better than another's, with an interval."""

from __future__ import annotations

import argparse
from typing import Any

from mir_ops.cli.evaluate import add_measured, read
from mir_ops.cli.operations import repository_of
from mir_ops.cli.output import Output
from mir_ops.errors import InvalidInputError


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "compare",
        help="Compare two models' predictions on the same images",
        description="The difference of B to A and its interval, by a paired bootstrap over the "
        "images. Both are measured against one ground truth: A's, or that of `--ground-truth`.",
    )
    add = parser.add_argument
    add("a", metavar="A", help="Revision with the first model's predictions")
    add("b", metavar="B", help="Revision with the second model's")
    add_measured(parser)
    add("--layer-b", metavar="NAME", help="Layer of B, where it is another than A's")
    add("--metric", choices=("map50", "map50_95"), default="map50", help="What is compared")
    add("--resamples", type=int, default=1000, metavar="N", help="Draws of images (1000)")
    add("--level", type=float, default=0.95, metavar="P", help="Probability of the interval")
    add("--seed", type=int, default=0, help="Draw otherwise with another number")
    parser.set_defaults(run=run_compare)


def run_compare(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.evaluation import compare, on_the_same_images

    repository = repository_of(arguments)
    arguments.truth = arguments.truth or arguments.a
    a = read(arguments, repository, repository.revision(arguments.a), arguments.layer)
    layer_b = arguments.layer_b or (arguments.layer if arguments.a != arguments.b else None)
    if arguments.a == arguments.b and not arguments.layer_b:
        raise InvalidInputError(
            "A and B are the same predictions",
            code="bad-comparison",
            hint="Name two revisions, or two layers of one: `--layer M1 --layer-b M2`",
        )
    b = read(arguments, repository, repository.revision(arguments.b), layer_b)
    a, b = on_the_same_images(a, b)
    found = compare(
        a.sides,
        b.sides,
        metric=arguments.metric,
        resamples=arguments.resamples,
        seed=arguments.seed,
        level=arguments.level,
    )
    output.record(
        {"a_origin": a.origin.to_dict(), "b_origin": b.origin.to_dict(), **found.to_dict()},
        [
            f"A {a.origin.layer} in {a.origin.predictions[:12]}: {found.metric} {found.a:.4f}",
            f"B {b.origin.layer} in {b.origin.predictions[:12]}: {found.metric} {found.b:.4f}",
            f"B less A: {found.difference:+.4f}, {found.level:.0%} interval {found.low:+.4f} to "
            f"{found.high:+.4f} over {found.images} images: {_words(found.verdict)}",
        ],
    )
    return 0


def _words(verdict: str) -> str:
    return {
        "better": "B is better",
        "worse": "A is better",
        "cannot tell": "cannot tell which is better",
    }[verdict]
