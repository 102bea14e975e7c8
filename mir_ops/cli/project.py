"""`mir project`: apply a project's file; create, edit, rename, delete, restore, list and show."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mir_ops.cli.output import Output, counted
from mir_ops.cli.project_fields import (
    add_fields,
    add_settings,
    differences,
    read_file,
    said_fields,
    with_settings,
)
from mir_ops.errors import InvalidInputError

if TYPE_CHECKING:
    from mir_ops.catalog import Catalog, Project
    from mir_ops.store import Store


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser("project", help="Create and show projects")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    apply = actions.add_parser("apply", help="Make a project be as its file says")
    apply.add_argument("-f", "--file", type=Path, required=True, metavar="FILE", help="YAML")
    add_settings(apply)
    apply.set_defaults(run=run_apply)
    create = _named(actions, "create", "Create a project without a file", run_create)
    add_fields(create)
    edit = _named(actions, "edit", "Change fields of a project", run_edit)
    add_fields(edit)
    rename = _named(actions, "rename", "Call a project otherwise", run_rename)
    rename.add_argument("to", metavar="NEW", help="Its new name")
    _named(actions, "delete", "Delete a project; it can be restored", run_delete)
    _named(actions, "restore", "Bring a deleted project back", run_restore)
    listing = actions.add_parser("list", help="List the projects")
    listing.add_argument("--deleted", action="store_true", help="Those that were deleted")
    listing.set_defaults(run=run_list)
    _named(actions, "show", "Show one project, as the file that would make it", run_show)


def run_apply(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.catalog import apply_project
    from mir_ops.rounds.beginning import begin_training

    mapping = with_settings(read_file(arguments.file), arguments.set)
    store, catalog = _open(arguments)
    before = catalog.projects.find(str(mapping.get("name")))
    now = apply_project(catalog, mapping, folder=arguments.file.resolve().parent)
    begin_training(store, now.key)
    return _say_change(output, before, now)


def run_create(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.catalog import create_project
    from mir_ops.catalog.changes import patched
    from mir_ops.rounds.beginning import begin_training

    start = {"name": arguments.name, "executor": {"name": "detector"}}
    mapping = patched(start, said_fields(arguments))
    store, catalog = _open(arguments)
    now = create_project(catalog, mapping, folder=Path.cwd())
    begin_training(store, now.key)
    return _say_change(output, None, now)


def run_edit(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.catalog import edit_project

    changes = said_fields(arguments)
    if not changes:
        raise InvalidInputError(
            "There is nothing to change",
            code="nothing-to-change",
            hint=f"Say what, as `mir project edit {arguments.name} --budget 200`",
        )
    catalog = open_catalog(arguments)
    before = catalog.projects.get(arguments.name)
    return _say_change(
        output, before, edit_project(catalog, arguments.name, changes, folder=Path.cwd())
    )


def run_rename(arguments: argparse.Namespace, output: Output) -> int:
    now = open_catalog(arguments).projects.rename(arguments.name, arguments.to)
    output.record(
        {"project": now.name, "key": now.key, "done": "renamed"},
        [f"Project `{now.name}`: renamed"],
    )
    output.note(f"Its branches are still `{now.key}/…`, its DAG `{now.dag_id}`")
    return 0


def run_delete(arguments: argparse.Namespace, output: Output) -> int:
    catalog = open_catalog(arguments)
    now = catalog.projects.delete(arguments.name)
    rounds = len(catalog.rounds.list(now.key))
    output.record(
        {"project": now.name, "key": now.key, "done": "deleted"},
        [f"Project `{now.name}`: deleted"],
    )
    output.note(
        f"{counted(rounds, 'rounds')} and all versions are kept: `mir project restore {now.name}` "
        "brings it back"
    )
    return 0


def run_restore(arguments: argparse.Namespace, output: Output) -> int:
    now = open_catalog(arguments).projects.restore(arguments.name)
    output.record(
        {"project": now.name, "key": now.key, "done": "restored"},
        [f"Project `{now.name}`: restored"],
    )
    return 0


def run_list(arguments: argparse.Namespace, output: Output) -> int:
    catalog = open_catalog(arguments)
    rows = [
        _row(catalog, project, output)
        for project in catalog.projects.list(deleted=arguments.deleted)
    ]
    columns = ["project", "classes", "executor", "strategy", "budget", "rounds", "last", "branches"]
    if arguments.deleted:
        columns.append("deleted")
    output.table(columns, rows, right=("classes", "budget", "rounds"))
    for error in catalog.projects.invalid(deleted=arguments.deleted).values():
        output.warning(f"{error}\nhint: {error.hint}")
    return 0


def run_show(arguments: argparse.Namespace, output: Output) -> int:
    import yaml

    project = open_catalog(arguments).projects.get(arguments.name)
    mapping = project.spec.to_mapping()
    text = yaml.safe_dump(mapping, sort_keys=False, allow_unicode=True)
    output.record(mapping, text.rstrip().split("\n"))
    if project.name != project.key:
        output.note(f"Its branches are `{project.key}/…`, its DAG `{project.dag_id}`")
    return 0


def open_catalog(arguments: argparse.Namespace) -> Catalog:
    from mir_ops.cli.repository import find_repository

    return find_repository(arguments.root).workspace.catalog


def _open(arguments: argparse.Namespace) -> tuple[Store, Catalog]:
    """A store that is away is known before a project is made that needs it."""
    from mir_ops.cli.repository import find_repository

    repository = find_repository(arguments.root)
    return repository.store, repository.workspace.catalog


def _named(actions: Any, name: str, text: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text)
    parser.add_argument("name", metavar="NAME", help="The project")
    parser.set_defaults(run=run)
    return parser


def _row(catalog: Catalog, project: Project, output: Output) -> list[object]:
    rounds, spec = catalog.rounds.list(project.key), project.spec
    return [
        project.name,
        len(spec.classes),
        spec.executor.name,
        spec.mining.strategy,
        spec.mining.budget,
        len(rounds),
        rounds[-1].state if rounds else "-",
        f"{project.key}/",
        *([output.time(project.deleted_at)] if project.deleted_at else []),
    ]


def _say_change(output: Output, before: Project | None, now: Project) -> int:
    """What became of the project, and which keys of it changed."""
    changed = [] if before is None else [
        *differences(before.spec.to_mapping(), now.spec.to_mapping())
    ]  # fmt: skip
    done = "created" if before is None else "changed" if changed else "unchanged"
    lines = [f"Project `{now.name}`: {done}"]
    lines += [f"  {key}: {_short(old)} → {_short(new)}" for key, old, new in changed]
    values: dict[str, object] = {"project": now.name, "done": done}
    if changed:
        values["changes"] = {key: {"before": old, "after": new} for key, old, new in changed}
    output.record(values, lines)
    return 0


def _short(value: object) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
