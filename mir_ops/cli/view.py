"""`mir view`: look at a dataset version in the browser."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from mir_ops.cli.output import Output

if TYPE_CHECKING:
    from mir_ops.cli.repository import Repository
    from mir_ops.console.sources import Sources


def register(subparsers: argparse._SubParsersAction[Any]) -> None:
    parser = subparsers.add_parser(
        "view",
        help="Look at a dataset version in the browser",
        description="Serve the console on 127.0.0.1, to whoever has the address that it prints, "
        "until interrupted: a dataset version, the projects and their rounds, and what changes "
        "them without Airflow. On a terminal the browser opens.",
    )
    parser.add_argument(
        "rev", nargs="?", metavar="REV", help="Branch, tag or commit (default: the branch at HEAD)"
    )
    parser.add_argument("--port", type=_port, default=0, help="Port; 0, the default, is a free one")
    parser.add_argument("--no-browser", action="store_true", help="Only print the address")
    parser.set_defaults(run=view)


def view(arguments: argparse.Namespace, output: Output) -> int:
    from mir_ops.cli.repository import find_repository
    from mir_ops.console.health.examining import examine_workspace
    from mir_ops.console.serving import serve

    repository = find_repository(arguments.root)
    page = _page_of(repository, arguments.rev)
    opens = sys.stdout.isatty() and not arguments.no_browser

    def show(address: str) -> None:
        output.record({"url": address}, [address])
        sys.stdout.flush()
        output.note("Serving until Ctrl-C")
        if opens:
            _open_browser(address)

    serve(
        _sources(repository),
        port=arguments.port,
        page=page,
        examine=lambda: examine_workspace(lambda: repository.workspace, label_tool=None),
        on_ready=show,
    )
    return 0


def _page_of(repository: Repository, rev: str | None) -> str:
    from mir_ops.console.sources import NO_PROJECT

    head = repository.head
    if rev is None and "@" not in head and not repository.store.branch(head).exists:
        return ""
    commit = repository.resolve(rev)
    return f"projects/{quote(commit.project or NO_PROJECT, safe='')}/versions/{commit.id}/images"


def _sources(repository: Repository) -> Sources:
    from mir_ops.console.models.looks import LooksHere
    from mir_ops.console.sources import Sources

    workspace = repository.workspace
    return Sources(
        repository.store,
        workspace.catalog,
        every_version=True,
        sharing_dir=workspace.sharing_dir,
        looks=LooksHere(workspace=workspace),
        label_files=repository.label_files,
    )


def _open_browser(address: str) -> None:
    import threading
    import webbrowser

    # Some browsers block the caller until they are closed.
    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()


def _port(text: str) -> int:
    if text.isdecimal() and int(text) < 65536:
        return int(text)
    raise argparse.ArgumentTypeError(f"`{text}` is not a port")
