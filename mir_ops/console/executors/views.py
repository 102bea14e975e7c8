"""Executor images as the console shows them: those that come with mir-ops, and registered ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from mir_ops.errors import NotFoundError
from mir_ops.executor.images import describe_folder
from mir_ops.executor.jobs import bundled_image

if TYPE_CHECKING:
    from mir_ops.catalog import Catalog, Executor, ExecutorCheck

BUNDLED: Final = ("detector", "torchvision", "sample")
JOBS: Final = ("train", "mine", "infer")

Templates = Mapping[int, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorView:
    """One executor. `templates`: object type to kind of job to settings."""

    name: str
    image: str
    templates: Templates = field(repr=False)
    bundled: bool = False
    local: bool = False  # a folder of the machine where it was added, run as a child process
    network: bool = False
    run_as_root: bool = False
    protocol: str = "1.1.0"
    digest: str | None = None
    added_at: datetime | None = None
    checked: ExecutorCheck | None = None

    @property
    def does(self) -> list[str]:
        kinds = {kind for found in self.templates.values() for kind in found}
        return [kind for kind in JOBS if kind in kinds]

    @property
    def conformance(self) -> str:
        """`passed`, `failed`, `unchecked`, or `stale`: the image was built anew since."""
        if self.checked is None:
            return "unchecked"
        if self.checked.digest != self.digest:
            return "stale"
        return "failed" if self.checked.failed else "passed"


def list_executors(catalog: Catalog | None) -> list[ExecutorView]:
    """All that a project may name; a registered one stands for one of ours of the same name."""
    registered = [_registered(each) for each in catalog.executors.list()] if catalog else []
    names = {each.name for each in registered}
    return [*registered, *(each for each in _bundled() if each.name not in names)]


def get_executor(catalog: Catalog | None, name: str) -> ExecutorView:
    for each in list_executors(catalog):
        if each.name == name:
            return each
    raise NotFoundError(f"No executor is called `{name[:200]}`", code="no-such-executor")


def _bundled() -> Iterable[ExecutorView]:
    for name in BUNDLED:
        try:
            image = bundled_image(name)
        except NotFoundError:
            continue  # installed without the project's executors
        assert image.folder is not None
        description = describe_folder(image.folder)
        yield ExecutorView(
            name=name, image=image.image, templates=description.templates, bundled=True
        )


def _registered(found: Executor) -> ExecutorView:
    return ExecutorView(
        name=found.name,
        image=found.image,
        templates=found.templates,
        local=found.folder is not None,
        network=found.network,
        run_as_root=found.run_as_root,
        protocol=found.protocol,
        digest=found.digest,
        added_at=found.added_at,
        checked=found.checked,
    )
