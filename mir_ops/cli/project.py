"""`mir project`: apply a project's file, create one, list and show them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mir_ops.cli.output import Output
from mir_ops.errors import ConflictError, InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from mir_ops.catalog import Catalog, Project


def register(subparsers: Any) -> None:
    parser = subparsers.add_parser("project", help="Create and show projects")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    apply = actions.add_parser("apply", help="Make a project be as its file says")
    apply.add_argument("-f", "--file", type=Path, required=True, metavar="FILE", help="YAML")
    apply.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="Say otherwise than the file, as `--set sources.pool=/data/pool.zip`",
    )
    apply.set_defaults(run=run_apply)
    create = actions.add_parser("create", help="Create a project without a file")
    create.add_argument("name", metavar="NAME", help="What it is called")
    create.add_argument("--classes", required=True, metavar="A,B,…", help="What to find")
    for source in ("training", "validation", "pool"):
        create.add_argument(f"--{source}", required=True, metavar="PATH", help="VOC zip or folder")
    create.add_argument("--executor", default="detector", metavar="NAME", help="Default: detector")
    create.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="Anything else of its file"
    )
    create.set_defaults(run=run_create)
    actions.add_parser("list", help="List the projects").set_defaults(run=run_list)
    show = actions.add_parser("show", help="Show one project")
    show.add_argument("name", metavar="NAME", help="The project")
    show.set_defaults(run=run_show)


def run_apply(arguments: argparse.Namespace, output: Output) -> int:
    mapping = _with_values(_read_yaml(arguments.file), arguments.set)
    _apply(arguments, output, mapping, arguments.file.resolve().parent)
    return 0


def run_create(arguments: argparse.Namespace, output: Output) -> int:
    if open_catalog(arguments).projects.find(arguments.name) is not None:
        raise ConflictError(
            f"Project `{arguments.name}` exists",
            code="project-exists",
            hint="Change it with `mir project apply -f FILE`",
        )
    mapping = {
        "name": arguments.name,
        "classes": arguments.classes.split(","),
        "sources": {name: getattr(arguments, name) for name in ("training", "validation", "pool")},
        "executor": {"name": arguments.executor},
    }
    _apply(arguments, output, _with_values(mapping, arguments.set), Path.cwd())
    return 0


def run_list(arguments: argparse.Namespace, output: Output) -> int:
    catalog = open_catalog(arguments)
    rows = []
    for project in catalog.projects.list():
        rounds = catalog.rounds.list(project.name)
        spec = project.spec
        rows.append(
            (
                project.name,
                len(spec.classes),
                spec.executor.name,
                spec.mining.strategy,
                spec.mining.budget,
                len(rounds),
                rounds[-1].state if rounds else "-",
            )
        )
    columns = ("project", "classes", "executor", "strategy", "budget", "rounds", "last")
    output.table(columns, rows, right=("classes", "budget", "rounds"))
    return 0


def run_show(arguments: argparse.Namespace, output: Output) -> int:
    import yaml

    mapping = open_catalog(arguments).projects.get(arguments.name).spec.to_mapping()
    text = yaml.safe_dump(mapping, sort_keys=False, allow_unicode=True)
    output.record(mapping, text.rstrip().split("\n"))
    return 0


def open_catalog(arguments: argparse.Namespace) -> Catalog:
    from mir_ops.cli.repository import find_repository

    return find_repository(arguments.root).workspace.catalog


def _apply(
    arguments: argparse.Namespace, output: Output, mapping: dict[str, Any], folder: Path
) -> None:
    from mir_ops.catalog import apply_project

    catalog = open_catalog(arguments)
    before = catalog.projects.find(str(mapping.get("name")))
    project = apply_project(catalog, mapping, folder=folder)
    done = _what_happened(before, project)
    output.record({"project": project.name, "done": done}, [f"Project `{project.name}`: {done}"])


def _what_happened(before: Project | None, now: Project) -> str:
    if before is None:
        return "created"
    return "unchanged" if before.spec == now.spec else "changed"


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotFoundError(
            f"No file `{path}`",
            code="no-such-file",
            hint="Check the path; `projects/digits.yaml` of mir-ops is an example",
        ) from None
    try:
        mapping = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidInputError(
            f"`{path}` is not YAML: {' '.join(str(error).split())}",
            code="invalid-yaml",
            hint="Correct it there; a name with a colon wants quotes",
        ) from None
    if not isinstance(mapping, dict):
        raise InvalidInputError(
            f"`{path}` is no mapping of keys to values",
            code="invalid-yaml",
            hint="Write `name: …`, `classes: […]` and so on, a line each",
        )
    return mapping


def _with_values(mapping: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """The mapping with `key.key=value` set; values are read as YAML."""
    import yaml

    for setting in settings:
        name, equals, value = setting.partition("=")
        *above, last = name.split(".")
        if not equals or not last:
            raise InvalidInputError(
                f"`{setting}` is not of the form KEY=VALUE", code="invalid-setting"
            )
        place = mapping
        for key in above:
            place = place.setdefault(key, {})
            if not isinstance(place, dict):
                raise InvalidInputError(f"`{name}` is below a value", code="invalid-setting")
        place[last] = yaml.safe_load(value)
    return mapping
