"""Connections: where a deployment keeps its things, and who answers its label tasks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args
from urllib.parse import unquote, urlsplit

from airflow.sdk import BaseHook
from airflow.sdk.configuration import conf
from airflow.sdk.log import mask_secret

from mir_ops.errors import InvalidInputError, MirError
from mir_ops.workspace import ImagesFrom, Runner, Workspace

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from mir_ops.labeling import LabelBackend

REQUIRED: Final = ("store_url", "catalog_url", "work_dir")


class MirHook(BaseHook):
    """
    The store, the catalog and this host's work folder, from a connection of type ``mir``.

    :param mir_conn_id: The connection.
    """

    conn_name_attr = "mir_conn_id"
    default_conn_name = "mir_default"
    conn_type = "mir"
    hook_name = "MIR workspace"

    def __init__(self, mir_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.mir_conn_id = mir_conn_id

    def get_conn(self) -> Workspace:
        return self.workspace()

    def workspace(self) -> Workspace:
        connection = self.get_connection(self.mir_conn_id)
        extra = connection.extra_dejson
        for secret in (_catalog_password(extra), extra.get("image_secret")):
            if secret:
                mask_secret(secret)
        return read_workspace(connection, extra)

    async def aworkspace(self) -> Workspace:
        """The same for triggers, where a blocking question to the supervisor is refused."""
        connection = await self.aget_connection(self.mir_conn_id)
        return read_workspace(connection, await connection.aextra_dejson())

    def test_connection(self) -> tuple[bool, str]:
        try:
            workspace = self.workspace()
            branches = len(workspace.store.branches())
            projects = len(workspace.catalog.projects.list())
        except MirError as error:
            return False, f"{error}. {error.hint or ''}".strip()
        return True, f"The store has {branches} branches, the catalog {projects} projects"


class LabelsHook(BaseHook):
    """
    The label tool, from a connection of type ``mir_labels``: only label tasks read it.

    :param labels_conn_id: The connection. Its extra holds the options of the label backend.
    """

    conn_name_attr = "labels_conn_id"
    default_conn_name = "mir_labels"
    conn_type = "mir_labels"
    hook_name = "MIR labels"

    def __init__(self, labels_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.labels_conn_id = labels_conn_id

    def get_conn(self) -> Mapping[str, Any]:
        return self.options()

    def options(self) -> dict[str, Any]:
        connection = self.get_connection(self.labels_conn_id)
        return _label_options(connection, connection.extra_dejson)

    async def aoptions(self) -> dict[str, Any]:
        """The same for triggers."""
        connection = await self.aget_connection(self.labels_conn_id)
        return _label_options(connection, await connection.aextra_dejson())

    def backend(self, kind: str) -> LabelBackend:
        from mir_ops.labeling import open_backend

        return open_backend(kind, options=self.options())


def read_workspace(connection: Connection, extra: Mapping[str, Any]) -> Workspace:
    """The workspace that a connection describes, or an error that names what is missing."""
    missing = [name for name in REQUIRED if not extra.get(name)]
    if missing:
        raise InvalidInputError(
            f"Connection `{connection.conn_id}` lacks {', '.join(f'`{n}`' for n in missing)}",
            code="connection-incomplete",
            hint="Fill in its fields under Admin > Connections, or in AIRFLOW_CONN_… as JSON",
        )
    runner: Runner = extra.get("runner") or "process"
    if runner not in get_args(Runner):
        raise InvalidInputError(
            f"Connection `{connection.conn_id}`: runner `{runner}` is not one of "
            f"{', '.join(get_args(Runner))}",
            code="connection-invalid",
        )
    images_from: ImagesFrom = extra.get("images_from") or "store"
    if images_from not in get_args(ImagesFrom):
        raise InvalidInputError(
            f"Connection `{connection.conn_id}`: images_from `{images_from}` is not one of "
            f"{', '.join(get_args(ImagesFrom))}",
            code="connection-invalid",
        )
    work_dir = _absolute(connection, extra, "work_dir")
    return Workspace(
        store_url=extra["store_url"],
        catalog_url=extra["catalog_url"],
        work_dir=work_dir,
        runner=runner,
        deployment=extra.get("deployment") or "local",
        sharing_dir=_absolute(connection, extra, "sharing_dir")
        if extra.get("sharing_dir")
        else None,
        access_key=connection.login or None,
        secret_key=connection.password or None,
        console_url=extra.get("console_url") or _console_url(),
        image_secret=extra.get("image_secret") or None,
        images_from=images_from,
    )


def _console_url() -> str | None:
    """Where browsers find the console that the plugin mounts, as far as Airflow knows."""
    base = str(conf.get("api", "base_url", fallback="") or "").rstrip("/")
    return f"{base}/mir" if base.startswith(("http://", "https://")) else None


def _absolute(connection: Connection, extra: Mapping[str, Any], name: str) -> Path:
    path = Path(extra[name])
    if not path.is_absolute():
        raise InvalidInputError(
            f"Connection `{connection.conn_id}`: {name} `{path}` is not absolute",
            code="connection-invalid",
        )
    return path


def _label_options(connection: Connection, extra: Mapping[str, Any]) -> dict[str, Any]:
    fields = {**extra, "access_key": connection.login, "secret_key": connection.password}
    return {name: value for name, value in fields.items() if value}


def _catalog_password(extra: Mapping[str, Any]) -> str | None:
    password = urlsplit(str(extra.get("catalog_url", ""))).password
    return None if password is None else unquote(password)
