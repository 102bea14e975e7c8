"""`mir mining explain`: why each image of a pick was chosen."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mir_ops.cli.operations import repository_of
from mir_ops.cli.output import Output


class _Instead(argparse._SubParsersAction):  # type: ignore[type-arg]
    """A sub-command that needs none of the options that its command requires."""

    def __call__(self, parser: argparse.ArgumentParser, *rest: Any) -> None:
        for action in parser._actions:
            action.required = False
        super().__call__(parser, *rest)


def register_explain(parser: argparse.ArgumentParser) -> None:
    """Add `explain` to `mir mining`, whose own options are YMIR's."""
    below = parser.add_subparsers(
        action=_Instead, title="actions", metavar="[explain REV]", prog="mir mining"
    )
    explain = below.add_parser(
        "explain",
        help="Show why each image of a pick was chosen",
        description="Show rank, score, reason and the nearest labelled image of each picked image, "
        "as a round or `mir mining` left them with the version.",
    )
    add = explain.add_argument
    add("rev", metavar="REV", help="A version with mining scores")
    add("--layer", metavar="NAME", help="Which scores, where there are several")
    add("--pictures", metavar="FILE", help="Write a page with a picture of each pick, as HTML")
    add("-n", "--limit", type=int, default=50, metavar="N", help="Rows to show (default: 50)")
    explain.set_defaults(run=run_explain)


def run_explain(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.arrow import spare_pandas
    from mir_ops.mining.explaining import explain

    spare_pandas()
    repository = repository_of(arguments)
    rev = repository.revision(arguments.rev)
    version = repository.store.read(rev)
    found = explain(repository.store, version, layer=arguments.layer)
    shown = found.choices[: max(0, arguments.limit)]
    columns = ("rank", "image", "name", "score", "nearest", "reason")
    rows: Sequence[Sequence[object]] = [
        (
            choice.rank,
            choice.asset_id[:12],
            choice.name,
            f"{choice.score:.4f}",
            choice.nearest[:12] if choice.nearest else None,
            choice.reason or None,
        )
        for choice in shown
    ]
    if output.json:
        output.record({"rev": rev, "commit": version.id, **found.to_dict()})
    else:
        output.table(columns, rows, right=("rank", "score"))
    for note in found.notes:
        output.note(note)
    if len(shown) < len(found.choices):
        output.note(
            f"{len(found.choices) - len(shown)} more: see them with `-n {len(found.choices)}`"
        )
    if arguments.pictures:
        from mir_ops.console.picks import write_picks

        path = Path(arguments.pictures)
        write_picks(repository.store, version, found, path, title=f"Picked: {rev}")
        output.note(f"Wrote {path}")
    return 0
