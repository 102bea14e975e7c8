"""Which round of which project a command means."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mir_ops.errors import InvalidInputError

if TYPE_CHECKING:
    from mir_ops.catalog import Catalog


def add_number(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("number", type=int, metavar="N", help="Which round")


def add_project(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-p", "--project", metavar="NAME", help="Default: the only project")


def chosen_project(catalog: Catalog, arguments: argparse.Namespace) -> str:
    """The project that was named, or the only one."""
    if arguments.project is not None:
        return str(arguments.project)
    names = [project.name for project in catalog.projects.list()]
    if len(names) != 1:
        raise InvalidInputError(
            f"There are {len(names)} projects" if names else "There is no project",
            code="which-project",
            hint=f"Add `--project {names[0]}`" if names else "Create one with `mir project apply`",
        )
    return names[0]
