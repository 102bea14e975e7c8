"""Executors by their names: those that people registered, and those that come with mir-ops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mir_ops.errors import NotFoundError
from mir_ops.executor.images import (
    Description,
    describe_folder,
    describe_image,
    executor_image,
    open_executor,
)
from mir_ops.executor.jobs import bundled_folder

if TYPE_CHECKING:
    from mir_ops.catalog import Catalog, Executor
    from mir_ops.executor.checks import Clause
    from mir_ops.executor.jobs import ExecutorImage


def register_executor(
    catalog: Catalog,
    image: str,
    *,
    name: str | None,
    network: bool = False,
    run_as_root: bool = False,
    protocol: str = "1.1.0",
    folder: Path | None = None,
    engine: Any = None,
) -> tuple[Executor, tuple[str, ...]]:
    """Register an image that the engine has, or a folder; and what of it cannot be read."""
    description = describe_folder(folder) if folder else describe_image(image, engine)
    if not description.templates:
        raise NotFoundError(
            f"`{image}` has no template in `/img-man`: it is no executor"
            + "".join(f"; {found}" for found in description.findings),
            code="no-templates",
            hint="See docs/executors.md for what an image needs",
        )
    made = catalog.executors.add(
        name=name or (folder.name if folder else image.rpartition("/")[2]),
        image=f"{folder.name}:local" if folder else image,
        folder=str(folder) if folder else None,
        digest=description.digest,
        network=network,
        run_as_root=run_as_root,
        protocol=protocol,
        templates=description.templates,
    )
    return made, description.findings


def keep_check(catalog: Catalog, image: ExecutorImage, clauses: Sequence[Clause]) -> bool:
    """Keep what the conformance kit said of a registered executor; False for every other one."""
    found = catalog.executors.find(image.name)
    if found is None or found.image != image.image:
        return False
    said = {clause.name: (clause.state, clause.detail) for clause in clauses}
    catalog.executors.keep_check(found.name, digest=image.digest, clauses=said)
    return True


def find_registered(
    catalog: Catalog, name: str, object_type: int | None = None
) -> ExecutorImage | None:
    """The executor that `mir executor add` has put into the catalog under this name."""
    found = catalog.executors.find(name)
    if found is None:
        return None
    return executor_image(
        found.name,
        description=Description(
            object_types=tuple(found.templates) or (2,),
            templates=found.templates,
            digest=found.digest,
        ),
        image=found.image,
        folder=Path(found.folder) if found.folder else None,
        object_type=object_type,
        network=found.network,
        run_as_root=found.run_as_root,
        protocol=found.protocol,
    )


def with_registered(catalog: Catalog, image: ExecutorImage) -> ExecutorImage:
    """The image with the templates that it was registered with, where no engine can read them."""
    if image.folder is not None:
        return image
    if found := find_registered(catalog, image.image):
        return replace(image, templates=found.templates, object_type=found.object_type)
    raise NotFoundError(
        f"Nobody has registered image `{image.image}`, and a cluster does not say what is in it",
        code="no-such-executor",
        hint=f"Run `mir executor add {image.image}` where a Docker engine has it",
    )


def find_known(catalog: Catalog, name: str, object_type: int | None = None) -> ExecutorImage:
    """The one that somebody who is not the shell's user may name: no folder or image of theirs."""
    if found := find_registered(catalog, name, object_type):
        return found
    try:
        bundled_folder(name if name.isidentifier() else "")
    except NotFoundError:
        names = [*(each.name for each in catalog.executors.list()), "detector", "torchvision"]
        known = ", ".join(f"`{each}`" for each in dict.fromkeys(names))
        raise NotFoundError(
            f"No executor is called `{name}`",
            code="no-such-executor",
            hint=f"There are {known}; `mir executor add` registers others",
        ) from None
    return open_executor(name, object_type=object_type)
