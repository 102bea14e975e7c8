"""Sources that are named by callers who are not the shell's user: in a sharing folder, or a URL."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mir_ops.dataset.downloads import fetched, is_url
from mir_ops.dataset.sources import SourceFiles, named, open_files
from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.workspace import Workspace


@contextmanager
def open_shared(source: str, workspace: Workspace) -> Iterator[SourceFiles]:
    """Open a path in the workspace's sharing folder, or the archive at a URL."""
    if is_url(source):
        folder = workspace.downloads_dir
        with (
            fetched(source, workspace=workspace, folder=folder) as path,
            open_files(path) as files,
        ):
            yield named(files, source)
        return
    path = shared_path(source, workspace.sharing_dir)
    with open_files(path, inside=workspace.sharing_dir) as files:
        yield files


@contextmanager
def shared_file(source: str, workspace: Workspace) -> Iterator[Path]:
    """One file in the workspace's sharing folder, or at a URL."""
    if is_url(source):
        with fetched(source, workspace=workspace, folder=workspace.downloads_dir) as path:
            yield path
        return
    path = shared_path(source, workspace.sharing_dir)
    if not path.is_file():
        raise InvalidInputError(
            f"`{source}` in the sharing folder is no file",
            code="not-a-file",
            hint="Name one file",
        )
    yield path


def shared_path(text: str, sharing_dir: Path | None) -> Path:
    """The file or folder that a path means, relative to the sharing folder or absolute in it.

    What leads out of the folder, by `..` or through a link, is refused: the answer does not tell
    what is there.
    """
    if sharing_dir is None:
        raise InvalidInputError(
            f"`{text}` cannot be imported: this deployment has no sharing folder",
            code="no-sharing-folder",
            hint="Name one in the field `sharing_dir` of the connection, and put the data there",
        )
    top = Path(os.path.realpath(sharing_dir))
    found = Path(os.path.realpath(top / text)) if "\0" not in text else None
    if found is None or not found.is_relative_to(top):
        raise InvalidInputError(
            f"`{text}` is not in the sharing folder `{sharing_dir}`",
            code="outside-sharing-folder",
            hint="Put the data into this folder, and give its path from there",
        )
    if not found.exists():
        raise NotFoundError(
            f"The source `{text}` does not exist in the sharing folder `{sharing_dir}`",
            code="no-such-source",
            hint="Check the path, and see that this worker can read it",
        )
    return found
