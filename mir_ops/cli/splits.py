"""`mir split`: training, validation and test images of a dataset version."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, TypeVar

from mir_ops.arrow import load_rows
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

SPLITS = {"tr": "train", "va": "val", "te": "test"}

N = TypeVar("N", int, float)


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "split",
        help="Divide the images into training, validation and test",
        description="Put every image into a split. Images of a group stay together.",
    )
    add_sources(parser, "Revision to split (default: the branch checked out)")
    parts = parser.add_mutually_exclusive_group(required=True)
    parts.add_argument("--rates", metavar="'tr:R;va:R;te:R'", help="Shares, together 1 or less")
    parts.add_argument("--counts", metavar="'tr:N;va:N;te:N'", help="Numbers of images")
    parser.add_argument("--seed", type=int, default=0, help="Divide otherwise with another number")
    parser.add_argument(
        "--stratify",
        metavar="BY",
        help="Give each part the same mix of `class` (an image counts for its rarest) or "
        "`attribute:NAME`",
    )
    add_destination(parser)
    parser.set_defaults(run=run_split)


def run_split(arguments: argparse.Namespace, output: Output) -> int:
    load_rows()
    from mir_ops.dataset import split_dataset

    repository = repository_of(arguments)
    destination = destination_of(arguments)
    source = source_of(arguments, repository)
    store = repository.store
    rates = _parts(arguments.rates, float) if arguments.rates else None
    counts = _parts(arguments.counts, int) if arguments.counts else None
    done = commit_once(
        repository,
        destination,
        "split",
        {
            "source": store.resolve(source.rev).id,
            "rates": rates,
            "counts": counts,
            "seed": arguments.seed,
            "stratify": arguments.stratify,
        },
        lambda op_id: split_dataset(
            store,
            source.rev,
            destination.branch,
            rates=rates,
            counts=counts,
            seed=arguments.seed,
            stratify=arguments.stratify,
            op_id=op_id,
            message=arguments.message,
        ),
    )
    found = done.commit.stats.splits
    splits = {name or "none": found[name] for name in (*SPLITS.values(), "") if name in found}
    line = ", ".join(f"{name}: {count}" for name, count in splits.items())
    say_done(output, done, {"seed": arguments.seed, "splits": splits}, [line])
    return 0


def _parts(text: str, number: Callable[[str], N]) -> dict[str, N]:
    parts: dict[str, N] = {}
    for part in names_of(text):
        name, _, value = part.partition(":")
        split = SPLITS.get(name, name)
        try:
            if split in parts:
                raise ValueError(f"`{split}` is there twice")
            parts[split] = number(value)
        except ValueError:
            raise InvalidInputError(
                f"`{part}` is not a part of a split",
                code="bad-split",
                hint="Write `tr:0.8;va:0.2` for rates, `tr:800;va:200` for counts",
            ) from None
    return parts
