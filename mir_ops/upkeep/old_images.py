"""Old builds of executors on the engine: ours alone, and only those that nothing names any more."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from mir_ops import __version__
from mir_ops.upkeep.cleaning import DAY

if TYPE_CHECKING:
    from docker import APIClient
    from mir_ops.catalog import Catalog

LABEL: Final = "mir.executor"

_NAMELESS: Final = "<none>:<none>"
_OURS: Final = "mir-ops/"


@dataclass(frozen=True, slots=True, kw_only=True)
class OldImage:
    """A build that lost its name to a newer one, or that came with another version of ours."""

    kind: ClassVar[str] = "image"
    image_id: str
    path: str  # its name, or its id
    byte_size: int
    age: float  # seconds since it was built


def find_old_images(
    engine: APIClient, catalog: Catalog, *, days: float, now: float | None = None
) -> Iterator[OldImage]:
    """Images with our label that are past their term, and that neither a registered executor, nor
    a project, nor a container has. One that a person gave a name stays."""
    now = time.time() if now is None else now
    used = {*_named(catalog), *(each["ImageID"] for each in engine.containers(all=True))}
    for found in engine.images(filters={"label": LABEL}):
        names = [name for name in found["RepoTags"] or [] if name != _NAMELESS]
        age = now - found["Created"]
        if age > days * DAY and _is_old(names) and not used & {found["Id"], *names}:
            yield OldImage(
                image_id=found["Id"],
                path=names[0] if names else found["Id"],
                byte_size=found["Size"],
                age=age,
            )


def remove_image(engine: APIClient, image: OldImage) -> bool:
    """Remove it, unless the engine says that it is used; True: it is gone."""
    from docker.errors import APIError, ImageNotFound

    try:
        engine.remove_image(image.path)
    except ImageNotFound:
        return True
    except APIError as error:
        if error.status_code != 409:
            raise
        return False
    return True


def _is_old(names: list[str]) -> bool:
    return all(name.startswith(_OURS) and not name.endswith(f":{__version__}") for name in names)


def _named(catalog: Catalog) -> Iterator[str]:
    """Names and digests of all images that executors and projects have, and open rounds had."""
    for executor in catalog.executors.list():
        yield from filter(None, (executor.image, executor.digest))
    specs = [project.spec for project in catalog.projects.list()]
    specs += [round_.spec for round_ in catalog.rounds.list() if round_.state == "open"]
    yield from (spec.executor.image for spec in specs if spec.executor.image)
