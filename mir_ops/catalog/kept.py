"""The projects of a catalog in one question, and the last answer for when nobody answers."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Final

from sqlalchemy import Engine, make_url, select

from mir_ops.catalog.connections import migrate, open_engine, reading
from mir_ops.catalog.tables import ProjectRow
from mir_ops.errors import MirError, StoreError

ANSWER_SECONDS: Final = 5

_log = logging.getLogger(__name__)

Files = Mapping[str, Mapping[str, Any]]  # by the projects' keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The files of all live projects; `problem` says why they are those of an earlier time."""

    files: Files
    problem: str | None = None


def list_projects(catalog_url: str, kept: Path) -> Listing:
    """One SELECT. What it gives is kept in the file, and taken from there while it fails.

    Before the first answer a catalog that does not exist yet has no projects.
    """
    try:
        if _is_absent(catalog_url):
            if not kept.is_file():
                return Listing(files={})
            raise StoreError("The catalog's file is not there", code="catalog-unavailable")
        files = _select(catalog_url)
    except MirError as error:
        return Listing(files=read_kept(kept), problem=str(error))
    keep(kept, files)
    return Listing(files=files)


def read_kept(path: Path) -> dict[str, Any]:
    """What was kept, or nothing."""
    try:
        read = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}


def keep(path: Path, content: Mapping[str, Any]) -> None:
    """Write the file if it says something else: whoever reads it sees the old or the new.

    Where it cannot be written, that is logged: there is no answer for later then.
    """
    data = json.dumps(content, sort_keys=True).encode()
    try:
        if path.is_file() and path.read_bytes() == data:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, prefix=f"{path.name}.", delete=False) as file:
            file.write(data)
            file.flush()
            os.replace(file.name, path)
    except OSError as error:
        _log.warning("Could not keep %s: %s", path, error)


def _is_absent(url: str) -> bool:
    """Whether it is a file that somebody took away: opening it would make an empty one."""
    parsed = make_url(url)
    return parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file()


def _select(catalog_url: str) -> dict[str, Any]:
    url = _impatient(catalog_url)
    engine = open_engine(url)
    try:
        return _files(engine)
    except MirError:
        migrate(engine)  # its tables may be of an older version, or none yet
        return _files(engine)
    finally:
        engine.dispose()


def _files(engine: Engine) -> dict[str, Any]:
    query = select(ProjectRow.key, ProjectRow.spec).where(ProjectRow.deleted_at.is_(None))
    with reading(engine) as session:
        return {row.key: row.spec for row in session.execute(query.order_by(ProjectRow.key))}


def _impatient(url: str) -> str:
    """A parse of a DAG file is ended after half a minute: a lost server must not take so long."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "postgresql" or "connect_timeout" in parsed.query:
        return url
    patience = parsed.update_query_dict({"connect_timeout": str(ANSWER_SECONDS)})
    return patience.render_as_string(hide_password=False)
