"""`mir dedup`: images that are alike, and what leaks from training into validation and test."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from mir_ops.arrow import spare_pandas
from mir_ops.cli.operations import (
    add_destination,
    commit_once,
    destination_of,
    repository_of,
    say_done,
)
from mir_ops.cli.output import Output
from mir_ops.dataset.revisions import parse_source, parse_sources
from mir_ops.errors import InvalidInputError

if TYPE_CHECKING:
    from mir_ops.cli.repository import Repository
    from mir_ops.store import Version

_DISTANCE: Final = 4
_LISTED: Final = 20


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "dedup",
        help="Find or remove images that are alike, and leaks between splits",
        description="Without a destination the images that are alike are listed; with one, a "
        "version without them is committed. --leaks lists images of one split that are like those "
        "of another, in one revision or in several such as `tr:a` and `va:b`.",
    )
    add = parser.add_argument
    add("revs", nargs="*", metavar="[tr:|va:|te:]REV", help="Default: the branch checked out")
    add("--src-revs", "--src-rev", dest="src_revs", metavar="REVS", help="The same, joined by `;`")
    add("--against", metavar="REVS", help="Also what is like the images of these")
    add(
        "--distance",
        type=int,
        default=_DISTANCE,
        help="In how many of 64 bits perceptual hashes may differ (0 to 8, default 4)",
    )
    add("--exact", action="store_true", help="Compare bytes only, and decode no image")
    add("--leaks", action="store_true", help="List what crosses splits")
    add_destination(parser)
    parser.set_defaults(run=run_dedup)


def run_dedup(arguments: argparse.Namespace, output: Output) -> int:
    spare_pandas()
    repository = repository_of(arguments)
    distance = None if arguments.exact else arguments.distance
    if arguments.leaks:
        return _leaks(arguments, repository, distance, output)
    rev = repository.revision(parse_source(_revs(arguments)).rev)
    named = parse_sources(arguments.against) if arguments.against else []
    against = [repository.revision(source.rev) for source in named]
    if arguments.to:
        return _remove(arguments, repository, rev, against, distance, output)
    return _list(repository, rev, against, distance, output)


def _remove(
    arguments: argparse.Namespace,
    repository: Repository,
    rev: str,
    against: list[str],
    distance: int | None,
    output: Output,
) -> int:
    from mir_ops.dataset import remove_duplicates

    destination = destination_of(arguments)
    store = repository.store
    done = commit_once(
        repository,
        destination,
        "dedup",
        {
            "source": store.resolve(rev).id,
            "against": [store.resolve(other).id for other in against],
            "distance": distance,
        },
        lambda op_id: remove_duplicates(
            store,
            rev,
            destination.branch,
            distance=distance,
            against=against,
            op_id=op_id,
            message=arguments.message,
            on_progress=output.progress,
        ),
    )
    removed = done.commit.operation.parameters["removed"]
    say_done(output, done, {"removed": removed}, [f"{removed} duplicates removed"])
    return 0


def _list(
    repository: Repository, rev: str, against: list[str], distance: int | None, output: Output
) -> int:
    from mir_ops.dataset import find_duplicates

    store = repository.store
    version, others = store.read(rev), [store.read(other) for other in against]
    found = find_duplicates(
        store, version, distance=distance, against=others, on_progress=output.progress
    )
    ids, originals = found.asset_ids.to_pylist(), found.originals.to_pylist()
    most = len(ids) if output.json else _LISTED
    names = _names([version, *others], {*ids[:most], *originals[:most]})
    rows = [
        (one.hex(), names.get(one), other.hex(), names.get(other), int(bits))
        for one, other, bits in zip(ids, originals, found.distance.tolist(), strict=True)
    ]
    _print(output, ("image", "name", "like", "like_name", "distance"), rows)
    output.note(f"{len(rows)} of {version.stats.assets} images are like another one that stays")
    if found.hashed is not None and found.hashed.computed.any():
        output.note("Their hashes were computed; a version that `--to` commits keeps them")
    return 0


def _leaks(
    arguments: argparse.Namespace, repository: Repository, distance: int | None, output: Output
) -> int:
    from mir_ops.dataset import find_leakage

    if arguments.to or arguments.against:
        raise InvalidInputError(
            "`--leaks` only lists: it takes no destination and no `--against`",
            code="bad-arguments",
            hint="Take the images out with `mir dedup REV --against OTHER --to BRANCH`",
        )
    store = repository.store
    sources = [
        (store.read(repository.revision(source.rev)), source.split)
        for source in parse_sources(_revs(arguments))
    ]
    found = find_leakage(store, sources, distance=distance, on_progress=output.progress)
    versions = [version for version, _ in sources]
    listed = found.leaks if output.json else found.leaks[:_LISTED]
    names = _names(versions, {key for leak in listed for key in (leak.asset_id, leak.like)})
    rows = [
        (
            *(leak.split, leak.asset_id.hex(), names.get(leak.asset_id)),
            *(leak.like_split, leak.like.hex(), names.get(leak.like), leak.distance),
        )
        for leak in found.leaks
    ]
    columns = ("split", "image", "name", "like_split", "like", "like_name", "distance")
    _print(output, columns, rows)
    if found.groups:
        output.warning(f"Groups in more than one split: {', '.join(found.groups[:_LISTED])}")
    output.note(f"{len(rows)} images are like one of another split")
    return 0


def _print(output: Output, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    if output.json:
        output.table(columns, rows)
        return
    short = [
        tuple(value[:12] if name in ("image", "like") else value for name, value in pairs)
        for pairs in (zip(columns, map(_text, row), strict=True) for row in rows[:_LISTED])
    ]
    if short:
        output.table(columns, short, right=("distance",))
    if len(rows) > len(short):
        output.note(f"… and {len(rows) - len(short)} more: `--json` lists all")


def _text(value: object) -> str:
    return "-" if value is None else str(value)


def _names(versions: list[Version], ids: Iterable[bytes]) -> dict[bytes, str]:
    """The first name of each of these images."""
    found: dict[bytes, str] = {}
    wanted = sorted(set(ids))
    for version in versions if wanted else ():
        table = version.assets(columns=["asset_id", "source_names"], ids=wanted)
        keys, values = table["asset_id"].to_pylist(), table["source_names"].to_pylist()
        found |= {key: names[0] for key, names in zip(keys, values, strict=True) if names}
    return found


def _revs(arguments: argparse.Namespace) -> str:
    return ";".join(filter(None, [arguments.src_revs, *arguments.revs])) or "HEAD"
