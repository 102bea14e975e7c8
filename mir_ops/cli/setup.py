"""`mir init`: make a folder a repository."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mir_ops.cli.history import create_branch
from mir_ops.cli.operations import commit_once
from mir_ops.cli.output import Output
from mir_ops.cli.repository import DEFAULT_BRANCH, create_repository
from mir_ops.dataset.revisions import parse_destination


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "init",
        help="Make a folder a mir repository",
        description="Make `.mir` with a store, an empty branch `master` and the label files "
        "`.mir/labels.yaml` and `labels.csv`, of which either can be edited.",
    )
    parser.add_argument("--store", metavar="URL", help="Store, s3://… or a folder (`.mir/store`)")
    parser.add_argument(
        *("--gen-dir", "--media-location"),
        dest="assets",
        metavar="DIR",
        help="Keep images in this folder or at this URL, which several repositories may share",
    )
    parser.add_argument(
        "--with-empty-rev", metavar="REV@TID", help="Also make an empty dataset with this tag"
    )
    parser.set_defaults(run=run_init)


def run_init(arguments: argparse.Namespace, output: Output) -> int:
    empty = parse_destination(arguments.with_empty_rev) if arguments.with_empty_rev else None
    repository = create_repository(
        Path(arguments.root or "."), store_url=arguments.store, assets=arguments.assets
    )
    if not repository.store.branch(DEFAULT_BRANCH).exists:
        create_branch(repository, DEFAULT_BRANCH, None)
    if empty is not None:
        commit_once(
            repository,
            empty,
            "init",
            {},
            lambda _: create_branch(repository, empty.branch, None),
        )
    output.record(
        {"root": str(repository.root), "store": repository.store_url, "head": repository.head},
        [f"A mir repository is at {repository.root}; its store is {repository.store_url}"],
    )
    return 0
