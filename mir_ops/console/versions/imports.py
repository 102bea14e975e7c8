"""Imports that run in Airflow: what is asked is checked here, and read there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import Request

from mir_ops.console.runs import runs_of
from mir_ops.console.sources import Sources
from mir_ops.console.versions.making import own_branch
from mir_ops.dataset.downloads import is_url
from mir_ops.dataset.publishing import read_published
from mir_ops.dataset.sharing import shared_path
from mir_ops.errors import InvalidInputError, StoreError

DAG: Final = "dataset_import"
_PUBLIC: Final = "public:"
_CHOICES: Final[Mapping[str, tuple[str | None, ...]]] = {
    "annotations": ("auto", "voc", "coco", "yolo", "none"),
    "unknown_classes": ("stop", "ignore", "add"),
    "split": (None, "train", "val", "test"),
}


def start_import(
    request: Request, sources: Sources, project: str, sent: Mapping[str, Any]
) -> tuple[str, str]:
    """Start a run, with the caller's rights: its id, and its page in Airflow."""
    conf = read_import(sources, project, sent)
    runs = runs_of(request)
    if runs is None:
        raise StoreError(
            "There is no Airflow here to run an import",
            code="no-airflow",
            hint=f"Import on a command line: `mir import {conf['path']} --to {conf['branch']}`",
        )
    run_id = runs.start(DAG, conf)
    return run_id, runs.run_address(DAG, run_id)


def read_import(sources: Sources, project: str, sent: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of the run; what is not there, or not for callers, is refused at once."""
    if unknown := sorted(sent.keys() - {"path", "to", *_CHOICES}):
        raise InvalidInputError(
            f"There is no field `{unknown[0][:60]}` of an import",
            code="unknown-field",
            hint=f"Fields are path, to, {', '.join(_CHOICES)}",
        )
    path, dataset = sent.get("path"), sent.get("to")
    if not isinstance(path, str) or not isinstance(dataset, str):
        raise InvalidInputError(
            "An import needs a path and a dataset",
            code="bad-field",
            hint="Send the fields `path` and `to`, both texts",
        )
    conf: dict[str, Any] = {"path": path, "branch": own_branch(sources, project, dataset)}
    for name, choices in _CHOICES.items():
        chosen = sent.get(name, choices[0]) or choices[0]
        if chosen not in choices:
            raise InvalidInputError(
                f"`{name}` cannot be `{str(chosen)[:60]}`",
                code="bad-field",
                hint=f"Use one of {', '.join(filter(None, choices))}",
            )
        conf[name] = chosen
    if path.startswith(_PUBLIC):
        read_published(sources.store, path.removeprefix(_PUBLIC))
    elif not is_url(path):
        shared_path(path, sources.sharing_dir)
    return conf
