"""`mir classes`: the classes of the label file, and of a version."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mir_ops.cli.operations import add_destination, repository_of
from mir_ops.cli.output import Output
from mir_ops.dataset.revisions import parse_source
from mir_ops.errors import InvalidInputError

if TYPE_CHECKING:
    from mir_ops.cli.repository import Repository
    from mir_ops.label_formats import Label

_COLUMNS = ("id", "class", "aliases")


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "classes",
        help="Show and change the classes of the label file",
        description="The label file is `.mir/labels.yaml`, or `labels.csv`; either can be edited "
        "as well. Every commit records its classes; a class keeps its id when it is renamed.",
    )
    parser.set_defaults(run=run_list, rev=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", prog="mir classes")
    _register_list(commands)
    _register_add(commands)
    _register_rename(commands)
    _register_files(commands)


def run_list(arguments: argparse.Namespace, output: Output) -> int:
    repository = repository_of(arguments)
    if arguments.rev is not None:
        version = repository.store.read(repository.revision(parse_source(arguments.rev).rev))
        found = [(one.id, one.name, one.aliases) for one in version.taxonomy.classes]
    else:
        labels = repository.label_files.read() or []
        found = [(place, one.name, one.aliases) for place, one in enumerate(labels)]
    rows = [(i, n, list(a) if output.json else ";".join(a) or "-") for i, n, a in found]
    output.table(_COLUMNS, rows, right=("id",))
    if not rows:
        output.note("None yet: `mir classes add NAME,ALIAS…`, or edit `labels.yaml`")
    return 0


def run_add(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.label_formats import Label
    from mir_ops.taxonomy import normalise

    wanted = []
    for given in arguments.classes:
        name, *aliases = (normalise(part) for part in given.split(","))
        wanted.append(Label(name=name, aliases=tuple(filter(None, aliases))))
    return _upsert(arguments, wanted, output)


def run_import(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.label_formats import read_labels

    return _upsert(arguments, read_labels(Path(arguments.file)), output)


def run_export(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.label_formats import Label, write_labels

    repository = repository_of(arguments)
    labels = repository.label_files.read() or []
    if arguments.rev is not None:
        version = repository.store.read(repository.revision(parse_source(arguments.rev).rev))
        labels = [Label(name=one.name, aliases=one.aliases) for one in version.taxonomy.classes]
    path = Path(arguments.file)
    if path.suffix.lower() not in (".yaml", ".yml", ".csv"):
        raise InvalidInputError(
            f"`{path}` is neither a `.yaml` nor a `.csv`",
            code="bad-label-file",
            hint="Classes are written as `labels.yaml` or `labels.csv`",
        )
    write_labels(path, labels)
    output.record({"file": str(path), "classes": len(labels)}, [])
    output.note(f"Wrote {len(labels)} classes to {path}")
    return 0


def run_rename(arguments: argparse.Namespace, output: Output) -> int:
    repository = repository_of(arguments)
    _check_unregistered(repository, arguments.new, arguments.old)
    repository.declared_classes()  # so that the class has its id before it loses its name
    renamed = repository.label_files.rename(arguments.old, arguments.new)
    output.record({"class": renamed.name, "aliases": list(renamed.aliases)}, [])
    output.note(
        f"`{renamed.name}` also answers to {', '.join(f'`{name}`' for name in renamed.aliases)}; "
        "the next commits record it"
    )
    return 0


def run_record(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.cli.operations import commit_once, destination_of, say_done
    from mir_ops.store import Operation

    repository = repository_of(arguments)
    destination = destination_of(arguments)
    store = repository.store
    tip = store.branch(destination.branch).tip()
    declared = repository.declared_classes()
    classes = () if declared is None else declared.classes

    def commit(op_id: str) -> Any:
        with store.edit(
            destination.branch,
            op_id=op_id,
            operation=Operation(kind="classes", inputs=(tip.id,)),
            message=arguments.message or "Record the classes of the label file",
        ) as edit:
            pass
        return edit.commit

    known = store.read(tip).taxonomy
    if declared is None or declared.over(known) == known:
        output.note(f"`{destination.branch}` has these classes already")
        return 0
    done = commit_once(
        repository,
        destination,
        "classes",
        {"tip": tip.id, "classes": [[one.id, one.name, one.aliases] for one in classes]},
        commit,
    )
    say_done(output, done, {}, [])
    return 0


def _upsert(arguments: argparse.Namespace, wanted: list[Label], output: Output) -> int:
    files = repository_of(arguments).label_files
    known = {label.name for label in files.read() or []}
    changed = files.upsert(wanted, check_only=arguments.check_only)
    for label in changed:
        state = "changed" if label.name in known else "added"
        output.record(
            {"class": label.name, "aliases": list(label.aliases), "state": state},
            [f"{state}: {';'.join((label.name, *label.aliases))}"],
        )
    if not changed:
        output.note("Nothing changed: they are known already")
    elif arguments.check_only:
        output.note("Nothing was written")
    return 0


def _check_unregistered(repository: Repository, new: str, old: str) -> None:
    """A name that was given to another class of the store would mean two classes."""
    from mir_ops.label_files import find_label
    from mir_ops.taxonomy import normalise

    label = find_label(repository.label_files.read() or [], old)
    registered = repository.store.classes()
    owner = registered.get(normalise(new))
    if owner is not None and owner not in (label.class_id, registered.get(label.name)):
        raise InvalidInputError(
            f"`{normalise(new)}` is the name of another class in this store",
            code="class-name-twice",
            hint="Choose another name, or make the one an alias of the other: "
            f"`mir classes add {normalise(new)},{label.name}`",
        )


def _register_list(commands: argparse._SubParsersAction[Any]) -> None:
    parser = commands.add_parser("list", help="Show the classes, of the label file or a version")
    parser.add_argument("rev", nargs="?", metavar="REV", help="Show those that a version recorded")
    parser.set_defaults(run=run_list)


def _register_add(commands: argparse._SubParsersAction[Any]) -> None:
    parser = commands.add_parser(
        "add",
        help="Add classes, or replace the aliases of known ones",
        description="All of them are added, or, when a name or alias belongs to another class, "
        "none.",
    )
    parser.add_argument(
        "classes", nargs="+", metavar="NAME[,ALIAS…]", help="A class and its aliases"
    )
    parser.add_argument("--check-only", action="store_true", help="Only say what would change")
    parser.set_defaults(run=run_add)


def _register_rename(commands: argparse._SubParsersAction[Any]) -> None:
    parser = commands.add_parser("rename", help="Rename a class; its old name becomes an alias")
    parser.add_argument("old", metavar="OLD", help="Name or alias of the class")
    parser.add_argument("new", metavar="NEW", help="Its new name")
    parser.set_defaults(run=run_rename)
    record = commands.add_parser("record", help="Commit the classes of the label file to a branch")
    add_destination(record)
    record.set_defaults(run=run_record)


def _register_files(commands: argparse._SubParsersAction[Any]) -> None:
    read = commands.add_parser("import", help="Add the classes of a `labels.yaml` or `labels.csv`")
    read.add_argument("file", metavar="FILE", help="Label file; its order decides")
    read.add_argument("--check-only", action="store_true", help="Only say what would change")
    read.set_defaults(run=run_import)
    write = commands.add_parser("export", help="Write the classes as `.yaml` or `.csv`")
    write.add_argument("file", metavar="FILE", help="File to write, ending in .yaml or .csv")
    write.add_argument("--rev", metavar="REV", help="Those that a version recorded")
    write.set_defaults(run=run_export)
