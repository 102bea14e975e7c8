"""`mir merge, filter, sampling, fuse`: dataset versions from others."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
from mir_ops.dataset.revisions import Source, parse_sources
from mir_ops.errors import InvalidInputError

if TYPE_CHECKING:
    from mir_ops.cli.repository import Repository
    from mir_ops.dataset import Bounds, Conditions, Sampling

_SPLITS = {"tr": "train", "va": "val", "te": "test"}


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    _register_merge(subparsers)
    _register_filter(subparsers)
    _register_sampling(subparsers)
    _register_fuse(subparsers)


def run_merge(arguments: argparse.Namespace, output: Output) -> int:
    load_rows()
    from mir_ops.dataset import merge

    repository = repository_of(arguments)
    destination = destination_of(arguments)
    merged = _merged(arguments, repository)
    done = commit_once(
        repository,
        destination,
        "merge",
        merged.inputs,
        lambda op_id: merge(
            repository.store,
            merged.sources,
            destination.branch,
            strategy=arguments.strategy,
            exclude=merged.excluded,
            op_id=op_id,
            message=arguments.message,
        ),
    )
    if arguments.src_revs and len(merged.sources) == 1:
        output.note("Only one revision was merged: quote a list, the shell cuts it at `;`")
    say_done(output, done, {}, [])
    return 0


def run_filter(arguments: argparse.Namespace, output: Output) -> int:
    load_rows()
    from mir_ops.dataset import filter_dataset

    repository = repository_of(arguments)
    destination = destination_of(arguments)
    source = source_of(arguments, repository)
    store = repository.store
    conditions = _conditions(arguments)
    taxonomy = repository.declared_classes()
    done = commit_once(
        repository,
        destination,
        "filter",
        {"source": store.resolve(source.rev).id, **conditions.to_parameters()},
        lambda op_id: filter_dataset(
            store,
            source.rev,
            destination.branch,
            conditions,
            taxonomy=taxonomy,
            op_id=op_id,
            message=arguments.message,
        ),
    )
    say_done(output, done, {}, [])
    return 0


def run_sampling(arguments: argparse.Namespace, output: Output) -> int:
    load_rows()
    from mir_ops.dataset import sample

    repository = repository_of(arguments)
    destination = destination_of(arguments)
    source = source_of(arguments, repository)
    store = repository.store
    sampling = _sampling(arguments)
    done = commit_once(
        repository,
        destination,
        "sampling",
        {
            "source": store.resolve(source.rev).id,
            "seed": sampling.seed,
            **sampling.to_parameters(),
        },
        lambda op_id: sample(
            store,
            source.rev,
            destination.branch,
            sampling,
            op_id=op_id,
            message=arguments.message,
        ),
    )
    say_done(output, done, {"seed": sampling.seed}, [])
    return 0


def run_fuse(arguments: argparse.Namespace, output: Output) -> int:
    load_rows()
    from mir_ops.dataset import fuse

    repository = repository_of(arguments)
    destination = destination_of(arguments)
    merged = _merged(arguments, repository)
    conditions = _conditions(arguments)
    sampled = arguments.count is not None or arguments.rate is not None
    sampling = _sampling(arguments) if sampled else None
    taxonomy = repository.declared_classes()
    done = commit_once(
        repository,
        destination,
        "fuse",
        {
            **merged.inputs,
            "filter": conditions.to_parameters(),
            "sample": [sampling.to_parameters(), sampling.seed] if sampling else None,
        },
        lambda op_id: fuse(
            repository.store,
            merged.sources,
            destination.branch,
            strategy=arguments.strategy,
            exclude=merged.excluded,
            conditions=conditions,
            sampling=sampling,
            taxonomy=taxonomy,
            op_id=op_id,
            message=arguments.message,
        ),
    )
    say_done(output, done, {"seed": sampling.seed if sampling else None}, [])
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Merged:
    """The sources of a merge with HEAD read, and what its operation id is made of."""

    sources: list[Source]
    excluded: list[str]
    inputs: dict[str, object]


def _merged(arguments: argparse.Namespace, repository: Repository) -> _Merged:
    text = ";".join(filter(None, [arguments.src_revs, *arguments.revs]))
    sources = [
        Source(rev=repository.revision(source.rev), split=source.split)
        for source in parse_sources(text)
    ]
    left_out = parse_sources(arguments.ex_src_revs) if arguments.ex_src_revs else []
    excluded = [repository.revision(source.rev) for source in left_out]
    store = repository.store
    return _Merged(
        sources=sources,
        excluded=excluded,
        inputs={
            "sources": [[source.split, store.resolve(source.rev).id] for source in sources],
            "exclude": [store.resolve(rev).id for rev in excluded],
            "strategy": arguments.strategy,
        },
    )


def _conditions(arguments: argparse.Namespace) -> Conditions:
    from mir_ops.dataset import Conditions

    return Conditions(
        include_classes=tuple(names_of(arguments.include)),
        exclude_classes=tuple(names_of(arguments.exclude)),
        match=arguments.match,
        annotation_source=arguments.filter_anno_src,
        attributes=tuple(names_of(arguments.attributes)),
        exclude_attributes=tuple(names_of(arguments.ex_attributes)),
        splits=tuple(_SPLITS.get(name, name) for name in names_of(arguments.splits)),
        width=_bounds(arguments.width),
        height=_bounds(arguments.height),
        byte_size=_bounds(arguments.byte_size),
        boxes=_bounds(arguments.boxes),
    )


def _sampling(arguments: argparse.Namespace) -> Sampling:
    from mir_ops.dataset import Sampling

    return Sampling(
        count=arguments.count,
        rate=arguments.rate,
        seed=arguments.seed,
        stratify=arguments.stratify,
    )


def _bounds(text: str | None) -> Bounds | None:
    from mir_ops.dataset import Bounds

    if text is None:
        return None
    low, colon, high = text.partition(":")
    try:
        return Bounds(
            low=int(low) if low else None,
            high=(int(high) if high else None) if colon else int(low),
        )
    except ValueError:
        raise InvalidInputError(
            f"`{text}` is not a range of whole numbers",
            code="bad-condition",
            hint="Write `MIN:MAX`, `MIN:`, `:MAX` or one number",
        ) from None


def _register_merge(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "merge",
        help="Merge datasets, each for training, validation or testing",
        description="Merge revisions such as `tr:training`, `va:validation@import`; the first is "
        "the host.",
    )
    _add_merge(parser)
    add_destination(parser)
    parser.set_defaults(run=run_merge)


def _register_filter(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "filter",
        help="Keep the images that have, or do not have, certain classes",
        description="Keep the images that fulfil all conditions. Their annotations stay whole.",
    )
    add_sources(parser, "Revision to filter (default: the branch checked out)")
    _add_conditions(parser)
    add_destination(parser)
    parser.set_defaults(run=run_filter)


def _register_sampling(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "sampling",
        help="Keep a random share of the images",
        description="Draw images. The same revision, amount and seed give the same images.",
    )
    add_sources(parser, "Revision to sample (default: the branch checked out)")
    _add_sampling(parser, required=True)
    add_destination(parser)
    parser.set_defaults(run=run_sampling)


def _register_fuse(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "fuse",
        help="Merge, filter and sample in one commit",
        description="Merge the revisions, keep what fulfils the conditions, and draw of it.",
    )
    _add_merge(parser)
    _add_conditions(parser)
    _add_sampling(parser, required=False)
    add_destination(parser)
    parser.set_defaults(run=run_fuse)


def _add_merge(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("revs", nargs="*", metavar="[tr:|va:|te:]REV", help="Revisions to merge")
    parser.add_argument("--src-revs", "--src-rev", dest="src_revs", help="The same, joined by `;`")
    parser.add_argument("--ex-src-revs", metavar="REVS", help="Leave out the images of these")
    parser.add_argument(
        "-s",
        "--strategy",
        choices=("stop", "host", "guest", "union"),
        default="stop",
        help="Images that differ: stop (default), who wins, or the boxes of all",
    )


def _add_conditions(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-p", "--cis", dest="include", metavar="'A;B'", help="Classes of which one must be there")
    add("-P", "--ex-cis", dest="exclude", metavar="'A;B'", help="Classes that must not be there")
    add(
        "--match",
        choices=("any", "all"),
        default="any",
        help="Whether any (default) or all of the classes after -p must be there",
    )
    add(
        "--filter-anno-src",
        choices=("any", "gt", "pred"),
        default="any",
        help="Look at the ground truth, at predictions, or at both (default)",
    )
    add("--attributes", metavar="'K=V;K'", help="Attributes that the image must have")
    add("--ex-attributes", metavar="'K=V;K'", help="Attributes that the image must not have")
    add("--splits", metavar="'tr;va'", help="Splits to keep: tr, va, te, none")
    add("--width", metavar="MIN:MAX", help="Pixels, both included; one side may be left out")
    add("--height", metavar="MIN:MAX", help="Pixels")
    add("--byte-size", metavar="MIN:MAX", help="Bytes of the image's file")
    add("--boxes", metavar="MIN:MAX", help="How many annotations, where --filter-anno-src says")


def _add_sampling(parser: argparse.ArgumentParser, *, required: bool) -> None:
    amount = parser.add_mutually_exclusive_group(required=required)
    amount.add_argument("--count", type=int, help="How many images")
    amount.add_argument("--rate", type=float, help="Which share of the images, 0 to 1")
    parser.add_argument("--seed", type=int, default=0, help="Draw others with another number")
    parser.add_argument(
        "--stratify",
        metavar="BY",
        help="Keep the mix of `class` (an image counts for its rarest), `split` or "
        "`attribute:NAME`",
    )
