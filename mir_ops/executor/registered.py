"""Executors by their names: those that people registered, and those that come with mir-ops."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mir_ops.errors import NotFoundError
from mir_ops.executor.images import Description, executor_image, open_executor
from mir_ops.executor.jobs import bundled_folder

if TYPE_CHECKING:
    from mir_ops.catalog import Catalog
    from mir_ops.executor.jobs import ExecutorImage


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
