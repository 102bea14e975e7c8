"""`mir doctor`: what this machine has of what executors and rounds need."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mir_ops.cli.output import Output
from mir_ops.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mir_ops.catalog import Catalog
    from mir_ops.cli.repository import Repository
    from mir_ops.store import Store

WEB_PORT, LABEL_PORT = 12001, 12007


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    doctor = subparsers.add_parser(
        "doctor",
        help="Check this machine for what executors and rounds need",
        description="Look at the driver, the container engine and toolkit, images and their CUDA, "
        "disk, shared memory, ports, the label tool, the store, whether browsers at the label tool "
        "may load images from a store on S3, the catalog, and in a pod at its rights and its "
        "volume: one line each, with what to do. "
        "Nothing is changed. The exit code is 1 when something failed.",
    )
    doctor.add_argument(
        "--image", action="append", default=[], metavar="IMAGE", help="An executor's image"
    )
    doctor.add_argument(
        "--work-dir", type=Path, metavar="DIR", help="Where executors work (default: this folder)"
    )
    doctor.add_argument("--store", metavar="URL", help="Store (default: the repository's)")
    doctor.add_argument("--label-tool", metavar="URL", help="Address of the label tool")
    doctor.add_argument(
        "--port",
        action="append",
        type=int,
        metavar="N",
        help=f"Ports that a deployment takes (default: {WEB_PORT} and {LABEL_PORT}, in a "
        "container none)",
    )
    doctor.set_defaults(run=run_doctor)


def run_doctor(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.doctor import examine

    findings = list(
        examine(
            work_dir=(arguments.work_dir or Path.cwd()).resolve(),
            images=arguments.image,
            ports=arguments.port or _ports(),
            label_tool=arguments.label_tool,
            open_store=_store(arguments),
            open_catalog=_catalog(arguments),
        )
    )
    rows = [(one.part, one.health, one.found, one.advice) for one in findings]
    output.table(["part", "health", "found", "advice"], rows)
    return int(any(one.health == "failed" for one in findings))


def _ports() -> tuple[int, ...]:
    """Those of a deployment; none in a container, where ports are its own."""
    return () if Path("/.dockerenv").exists() else (WEB_PORT, LABEL_PORT)


def _store(arguments: argparse.Namespace) -> Callable[[], Store] | None:
    """How to open the store that is meant; None when there is none to speak of."""
    from mir_ops.store import Store

    if (url := arguments.store) is not None:
        return lambda: Store.open(url)
    repository = _repository(arguments)
    return None if repository is None else lambda: repository.store


def _catalog(arguments: argparse.Namespace) -> Callable[[], Catalog] | None:
    """How to open the repository's catalog."""
    repository = _repository(arguments)
    return None if repository is None else lambda: repository.workspace.catalog


def _repository(arguments: argparse.Namespace) -> Repository | None:
    from mir_ops.cli.repository import find_repository

    try:
        return find_repository(arguments.root)
    except NotFoundError:
        return None
