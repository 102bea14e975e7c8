"""Executor images by the JSON API: seen, added and removed.

A caller who is not the shell's user adds what the engine has under a tag or digest, never a folder,
and replaces no name by another image. More than the contract gives, network or root, is an admin's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, ConfigDict, StringConstraints

from mir_ops.catalog import Catalog
from mir_ops.console.access import may, needs
from mir_ops.console.executors.views import BUNDLED, ExecutorView, get_executor, list_executors
from mir_ops.console.frame import Kept, Opened
from mir_ops.errors import ConflictError, InvalidInputError
from mir_ops.executor.registered import register_executor

api = APIRouter(prefix="/executors")

# What Docker takes for a repository, a tag and a digest, as far as a path cannot be one.
_REFERENCE: Final = re.compile(
    r"[a-z0-9][a-z0-9.-]*(:\d+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
    r"(:\w[\w.-]{0,127})?(@sha256:[0-9a-f]{64})?"
)


class Clause(BaseModel):
    name: str
    state: Literal["passed", "failed", "not claimed"]
    detail: str


class Check(BaseModel):
    """What the conformance kit said, of what then had this digest."""

    at: datetime
    digest: str | None
    clauses: list[Clause]


class ExecutorAnswer(BaseModel):
    """An executor. `templates`: object type to kind of job to settings."""

    name: str
    image: str
    does: list[Literal["train", "mine", "infer"]]
    bundled: bool
    network: bool
    run_as_root: bool
    protocol: str
    digest: str | None
    added_at: datetime | None
    conformance: Literal["passed", "failed", "unchecked", "stale"]
    checked: Check | None
    templates: Mapping[int, Mapping[str, Mapping[str, Any]]]


class ExecutorList(BaseModel):
    executors: list[ExecutorAnswer]


class NewExecutor(BaseModel):
    """An image of the Docker engine; `name` is what projects call it, by default the image's."""

    model_config = ConfigDict(extra="forbid")

    image: Annotated[str, StringConstraints(strip_whitespace=True, max_length=300)]
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][\w.:-]{0,127}$")] | None = None
    network: bool = False
    run_as_root: bool = False
    protocol: Literal["0.0.0", "1.0.0", "1.1.0"] = "1.1.0"


@api.get("", dependencies=[needs("read")], name="list_executors")
def list_all(sources: Opened) -> ExecutorList:
    """Executors: those that come with mir-ops, and those that were added."""
    return ExecutorList(executors=[_answer(each) for each in list_executors(sources.catalog)])


@api.get("/{name:path}", dependencies=[needs("read")])
def show_executor(sources: Opened, name: str) -> ExecutorAnswer:
    """One executor, with its settings and what the conformance kit said of it."""
    return _answer(get_executor(sources.catalog, name))


@api.post("", status_code=201, dependencies=[needs("operate")])
def add_executor(
    request: Request, sources: Opened, catalog: Kept, wanted: NewExecutor
) -> ExecutorAnswer:
    """Add an image that the engine has; added again, its settings are read anew."""
    if not _REFERENCE.fullmatch(wanted.image):
        raise InvalidInputError(
            f"`{wanted.image}` is not the name of an image",
            code="not-an-image",
            hint="Name it as `docker pull` does; folders are added by `mir executor add`",
        )
    if (wanted.network or wanted.run_as_root) and not may(request, "publish"):
        raise HTTPException(403, "An executor with a network, or as root, is an admin's to add")
    name = wanted.name or wanted.image.rpartition("/")[2]
    _refuse_taken(catalog, name, wanted.image)
    register_executor(
        catalog,
        wanted.image,
        name=name,
        network=wanted.network,
        run_as_root=wanted.run_as_root,
        protocol=wanted.protocol,
        engine=sources.workspace.engine,
    )
    return _answer(get_executor(catalog, name))


@api.delete("/{name:path}", status_code=204, dependencies=[needs("operate")])
def remove_executor(catalog: Kept, name: str) -> None:
    """Forget an executor that no project uses. The image stays in the engine."""
    catalog.executors.remove(name)


def _refuse_taken(catalog: Catalog, name: str, image: str) -> None:
    """Projects go by names: another image under the same one would be theirs, too."""
    taken = next((each for each in catalog.executors.list() if each.name == name), None)
    if name in BUNDLED or (taken and taken.image != image):
        raise ConflictError(
            f"`{name}` is another executor already",
            code="executor-name-taken",
            hint="Choose another name, or remove that one first",
        )


def _answer(executor: ExecutorView) -> ExecutorAnswer:
    checked = executor.checked
    return ExecutorAnswer.model_validate(
        {
            "name": executor.name,
            "image": executor.image,
            "does": executor.does,
            "bundled": executor.bundled,
            "network": executor.network,
            "run_as_root": executor.run_as_root,
            "protocol": executor.protocol,
            "digest": executor.digest,
            "added_at": executor.added_at,
            "conformance": executor.conformance,
            "checked": checked
            and {
                "at": checked.at,
                "digest": checked.digest,
                "clauses": [
                    {"name": name, "state": state, "detail": detail}
                    for name, (state, detail) in checked.clauses.items()
                ],
            },
            "templates": executor.templates,
        }
    )
