"""What stands ready before the first round: workspace, data set, oracle, project, connections."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit, urlunsplit

from mir_ops.demo.folder import DemoFolder
from mir_ops.errors import InvalidInputError
from mir_ops.workspace import Runner, Workspace

if TYPE_CHECKING:
    from mir_ops.console.rounds.views import RoundView
    from mir_ops.demo.label_studio import LocalLabelStudio

ORACLE: Final = "truth"


def open_workspace(folder: DemoFolder, *, store: str, runner: str) -> Workspace:
    """Make the demo's own store and catalog, readable by `mir --root FOLDER` as well."""
    from mir_ops.cli.repository import create_repository

    repository = create_repository(folder.root, store_url=_fresh(store) if store else None)
    return Workspace(
        store_url=repository.store_url,
        catalog_url=repository.catalog_url,
        work_dir=folder.work,
        runner=cast("Runner", runner),
        deployment=f"demo-{hashlib.sha256(os.fsencode(folder.root)).hexdigest()[:12]}",
        access_key=os.environ.get("AWS_ACCESS_KEY_ID"),
        secret_key=os.environ.get("AWS_SECRET_ACCESS_KEY"),
    )


def prepare(
    folder: DemoFolder,
    workspace: Workspace,
    *,
    rounds: int,
    seed: int,
    tell: Callable[[str], None],
    labels: str = "oracle",
) -> None:
    """Write the data set as a user would bring it, fill the oracle, apply the project."""
    from mir_ops.catalog import apply_project
    from mir_ops.demo.project import project_mapping, write_project
    from mir_ops.demo.scenes import write_dataset
    from mir_ops.rounds.beginning import begin_training

    paths = write_dataset(folder.data, seed=seed)
    for path, what in (
        (paths.training, "labelled images"),
        (paths.validation, "labelled images for validation"),
        (paths.pool, "images without labels"),
    ):
        tell(f"  {path.name:<15} {path.stat().st_size / 1e6:5.1f} MB  {_members(path)} {what}")
    _fill_oracle(folder, paths.oracle)
    paths.oracle.unlink()  # from here on only the label tasks know the pool's labels
    mapping = project_mapping(paths, rounds=rounds, seed=seed, labels=labels)
    write_project(folder.project_file, mapping)
    begin_training(workspace.store, apply_project(workspace.catalog, mapping).key)
    tell(f"  Project         {folder.project_file}")


def connections(
    folder: DemoFolder, workspace: Workspace, studio: LocalLabelStudio | None = None
) -> dict[str, dict[str, Any]]:
    """Airflow's two connections. Only the label tasks read the second one."""
    labels: dict[str, Any] = {"extra": {"store_url": folder.oracle.as_uri(), "rev": ORACLE}}
    if studio is not None:
        labels = {"password": studio.login["token"], "extra": {"url": studio.url}}
    return {
        "mir_default": {
            "conn_type": "mir",
            "login": workspace.access_key,
            "password": workspace.secret_key,
            "extra": {
                "store_url": workspace.store_url,
                "catalog_url": workspace.catalog_url,
                "work_dir": str(workspace.work_dir),
                "sharing_dir": str(folder.data),
                "runner": workspace.runner,
                "deployment": workspace.deployment,
                "image_secret": secrets.token_hex(16),
            },
        },
        "mir_labels": {"conn_type": "mir_labels", **labels},
    }


def print_rounds(rounds: Sequence[RoundView]) -> None:
    """One row for each round, and whether its model is better than the one before."""
    from mir_ops.cli.output import Output

    rows = [
        (turn.number, turn.images, turn.boxes, _share(turn.map50), _share(turn.map50_95),
         None if turn.seconds is None else f"{turn.seconds:.0f}",
         _change(rounds[index - 1] if index else None, turn))
        for index, turn in enumerate(rounds)
    ]  # fmt: skip
    names = ("round", "images", "boxes", "map50", "map50:95", "seconds", "than before")
    Output().table(names, rows, right=names[:-1])


def _fresh(url: str) -> str:
    """A prefix of this run's own: what an earlier run left in the bucket stays as it is."""
    parts = urlsplit(url)
    if parts.scheme != "s3":
        raise InvalidInputError(
            f"`{url}` is not an S3 address",
            code="bad-store",
            hint="Write s3://bucket/prefix?endpoint_url=https://…, or leave it out",
        )
    path = f"{parts.path.rstrip('/')}/demo-{secrets.token_hex(4)}"
    return urlunsplit(parts._replace(path=path))


def _fill_oracle(folder: DemoFolder, archive: Any) -> None:
    from mir_ops.dataset import import_dataset, source_digest
    from mir_ops.store import Store, operation_id

    import_dataset(
        Store.open(folder.oracle.as_uri(), create=True),
        archive,
        ORACLE,
        op_id=operation_id("demo/oracle", {"source": source_digest(archive)}),
        unknown_classes="add",
    )


def _members(path: Any) -> int:
    import zipfile

    with zipfile.ZipFile(path) as archive:
        return sum(name.startswith("images/") for name in archive.namelist())


def _share(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"


def _change(before: RoundView | None, now: RoundView) -> str | None:
    if before is None or before.map50 is None or now.map50 is None:
        return None
    gain = now.map50 - before.map50
    return f"{'better' if gain > 0 else 'worse'} by {abs(gain):.3f}"
