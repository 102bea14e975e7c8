"""`mir keywords, search`: words for versions, and versions by words."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from mir_ops.cli.operations import (
    add_destination,
    commit_once,
    destination_of,
    repository_of,
    say_done,
)
from mir_ops.cli.output import Output
from mir_ops.dataset.revisions import parse_source
from mir_ops.errors import InvalidInputError

if TYPE_CHECKING:
    from mir_ops.cli.repository import Repository
    from mir_ops.dataset.searching import Hit


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    _register_keywords(subparsers)
    _register_search(subparsers)


def run_keywords(arguments: argparse.Namespace, output: Output) -> int:
    repository = repository_of(arguments)
    if arguments.words[:1] in (["add"], ["remove"]):
        return _change_keywords(arguments, repository, output)
    rev = arguments.src_revs or " ".join(arguments.words) or "HEAD"
    version = repository.store.read(repository.revision(parse_source(rev).rev))
    layers = version.stats.layers.values()
    ids = sorted({class_id for layer in layers for class_id in layer.classes})
    classes = [version.taxonomy.name_of(class_id) for class_id in ids]
    keywords = list(version.commit.keywords)
    output.record(
        {"rev": rev, "commit": version.id, "classes": classes, "keywords": keywords},
        [f"classes: {';'.join(classes) or '-'}", f"keywords: {';'.join(keywords) or '-'}"],
    )
    return 0


def run_search(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.dataset.searching import search

    repository = repository_of(arguments)
    if arguments.tag:
        return _show_tagged(arguments.tag, repository, output)
    query = " ".join(arguments.query)
    if not query.strip():
        raise InvalidInputError(
            "Nothing is given to search for",
            code="no-query",
            hint="Give some words, as in `mir search 'rain night'`, or a tag with `--tag`",
        )
    folder = repository.folder
    hits = search(
        repository.store,
        query,
        class_names=_class_names(repository),
        memory=folder / "search.jsonl" if folder.is_dir() else None,
    )
    columns = ("version", "commit", "time", "images", "keywords", "matched", "message")
    rows = [_hit_row(hit, output) for hit in hits[: arguments.limit]]
    if rows:
        output.table(columns, rows, right=("images",))
    if len(hits) > len(rows):
        output.note(f"{len(hits) - len(rows)} more: see them with `-n {len(hits)}`")
    if not hits:
        output.note("No version is like this")
    return 0


def _change_keywords(arguments: argparse.Namespace, repository: Repository, output: Output) -> int:
    from mir_ops.dataset.keywords import parse_keywords, set_keywords

    if not arguments.to:
        arguments.to = arguments.src_revs or repository.head
    destination = destination_of(arguments)
    words = parse_keywords(arguments.words[1:])
    tip = repository.store.branch(destination.branch).tip()
    named = {word.casefold() for word in words}
    kept = [word for word in tip.keywords if word.casefold() not in named]
    adding = arguments.words[0] == "add"
    keywords = [*tip.keywords, *(w for w in words if w not in tip.keywords)] if adding else kept
    if keywords == list(tip.keywords):
        output.note("These are its keywords already" if adding else "It has none of these keywords")
        return 0
    done = commit_once(
        repository,
        destination,
        "keywords",
        {"tip": tip.id, "keywords": keywords},
        lambda op_id: set_keywords(
            repository.store,
            destination.branch,
            keywords,
            op_id=op_id,
            message=arguments.message,
        ),
    )
    say_done(output, done, {"keywords": keywords}, [f"keywords: {';'.join(keywords) or '-'}"])
    return 0


def _show_tagged(tag: str, repository: Repository, output: Output) -> int:
    """The versions of exactly this tag, or of all tags `branch@tid` with this tid."""
    rows = []
    for name, commit_id in repository.store.tags().items():
        if tag in (name, name.partition("@")[2]):
            commit = repository.store.commit(commit_id)
            shown = commit.id if output.json else commit.id[:12]
            time = output.time(commit.created_at)
            rows.append((name, shown, time, commit.stats.assets, commit.message))
    if rows:
        output.table(("tag", "commit", "time", "images", "message"), rows, right=("images",))
    else:
        output.note(f"No tag is called `{tag}`")
    return 0


def _class_names(repository: Repository) -> dict[int, list[str]]:
    """What the store and the label file call each class."""
    names = {class_id: [name] for name, class_id in repository.store.classes().items()}
    for label in repository.label_files.read() or []:
        if label.class_id in names:
            names[label.class_id] += [label.name, *label.aliases]
    return names


def _hit_row(hit: Hit, output: Output) -> tuple[object, ...]:
    facts = hit.facts
    lists = (list(facts.keywords), list(hit.matched))
    return (
        f"{hit.branch}@V{hit.number}",
        facts.id if output.json else facts.id[:12],
        output.time(facts.created_at),
        facts.assets,
        *(lists if output.json else (";".join(lists[0]) or "-", ", ".join(lists[1]))),
        facts.message,
    )


def _register_keywords(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "keywords",
        help="Show or add the keywords of a version",
        description="`mir keywords REV` shows the classes that occur in a version, which are its "
        "keywords anyway, and those that people gave it. `add` and `remove` make a new version of "
        "a branch that has the same images.",
    )
    parser.add_argument(
        "words", nargs="*", metavar="REV | add WORD… | remove WORD…", help="What to do"
    )
    parser.add_argument("--src-revs", "--src-rev", dest="src_revs", help=argparse.SUPPRESS)
    add_destination(parser)
    parser.set_defaults(run=run_keywords)


def _register_search(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "search",
        help="Find versions by keyword, class, message or dataset",
        description="Find the versions of all branches whose keywords, classes, messages or names "
        "are like the words, the best first. Spelling need not be exact.",
    )
    parser.add_argument("query", nargs="*", metavar="WORD", help="What to look for")
    parser.add_argument("--tag", metavar="TAG", help="Exactly this tag, `branch@tid` or only `tid`")
    parser.add_argument("-n", "--limit", type=int, default=20, metavar="N", help="At most so many")
    parser.set_defaults(run=run_search)
