"""`mir merge, filter, sampling`: dataset versions from others."""

from __future__ import annotations

import argparse
from typing import Any

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


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    _register_merge(subparsers)
    _register_filter(subparsers)
    _register_sampling(subparsers)


def run_merge(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.dataset import merge
    from mir_ops.dataset.revisions import Source, parse_sources

    repository = repository_of(arguments)
    destination = destination_of(arguments)
    text = ";".join(filter(None, [arguments.src_revs, *arguments.revs]))
    sources = [
        Source(rev=repository.revision(source.rev), split=source.split)
        for source in parse_sources(text)
    ]
    excluded = parse_sources(arguments.ex_src_revs) if arguments.ex_src_revs else []
    store = repository.store
    inputs = {
        "sources": [[source.split, store.resolve(source.rev).id] for source in sources],
        "exclude": [store.resolve(source.rev).id for source in excluded],
        "strategy": arguments.strategy,
    }
    done = commit_once(
        repository,
        destination,
        "merge",
        inputs,
        lambda op_id: merge(
            store,
            sources,
            destination.branch,
            strategy=arguments.strategy,
            exclude=[source.rev for source in excluded],
            op_id=op_id,
            message=arguments.message,
        ),
    )
    say_done(output, done, {}, [])
    return 0


def run_filter(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.dataset import filter_dataset

    repository = repository_of(arguments)
    destination = destination_of(arguments)
    source = source_of(arguments, repository)
    store = repository.store
    include, exclude = names_of(arguments.include), names_of(arguments.exclude)
    inputs = {
        "source": store.resolve(source.rev).id,
        "include": include,
        "exclude": exclude,
        "annotations": arguments.filter_anno_src,
    }
    taxonomy = repository.declared_classes()
    done = commit_once(
        repository,
        destination,
        "filter",
        inputs,
        lambda op_id: filter_dataset(
            store,
            source.rev,
            destination.branch,
            include_classes=include,
            exclude_classes=exclude,
            annotation_source=arguments.filter_anno_src,
            taxonomy=taxonomy,
            op_id=op_id,
            message=arguments.message,
        ),
    )
    say_done(output, done, {}, [])
    return 0


def run_sampling(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.dataset import sample

    repository = repository_of(arguments)
    destination = destination_of(arguments)
    source = source_of(arguments, repository)
    store = repository.store
    inputs = {
        "source": store.resolve(source.rev).id,
        "count": arguments.count,
        "rate": arguments.rate,
        "seed": arguments.seed,
    }
    done = commit_once(
        repository,
        destination,
        "sampling",
        inputs,
        lambda op_id: sample(
            store,
            source.rev,
            destination.branch,
            count=arguments.count,
            rate=arguments.rate,
            seed=arguments.seed,
            op_id=op_id,
            message=arguments.message,
        ),
    )
    say_done(output, done, {"seed": arguments.seed}, [])
    return 0


def _register_merge(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "merge",
        help="Merge datasets, each for training, validation or testing",
        description="Merge revisions such as `tr:training`, `va:validation@import`; the first is "
        "the host.",
    )
    parser.add_argument("revs", nargs="*", metavar="[tr:|va:|te:]REV", help="Revisions to merge")
    parser.add_argument("--src-revs", "--src-rev", dest="src_revs", help="The same, joined by `;`")
    parser.add_argument("--ex-src-revs", metavar="REVS", help="Leave out the images of these")
    parser.add_argument(
        "-s",
        "--strategy",
        choices=("stop", "host", "guest"),
        default="stop",
        help="Images that differ: stop (default), or who wins",
    )
    add_destination(parser)
    parser.set_defaults(run=run_merge)


def _register_filter(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "filter",
        help="Keep the images that have, or do not have, certain classes",
        description="Keep images with any of the classes after -p and none of those after -P.",
    )
    add_sources(parser, "Revision to filter (default: the branch checked out)")
    add = parser.add_argument
    add("-p", "--cis", dest="include", metavar="'A;B'", help="Classes of which one must be there")
    add("-P", "--ex-cis", dest="exclude", metavar="'A;B'", help="Classes that must not be there")
    add(
        "--filter-anno-src",
        choices=("any", "gt", "pred"),
        default="any",
        help="Look at the ground truth, at predictions, or at both (default)",
    )
    add_destination(parser)
    parser.set_defaults(run=run_filter)


def _register_sampling(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser("sampling", help="Keep a random share of the images")
    add_sources(parser, "Revision to sample (default: the branch checked out)")
    amount = parser.add_mutually_exclusive_group(required=True)
    amount.add_argument("--count", type=int, help="How many images")
    amount.add_argument("--rate", type=float, help="Which share of the images, 0 to 1")
    parser.add_argument("--seed", type=int, default=0, help="Draw others with another number")
    add_destination(parser)
    parser.set_defaults(run=run_sampling)
