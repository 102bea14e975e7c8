"""Images of a source read, hashed and looked at."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mir_ops.formats.images import ImageFacts, ImageRefusedError, inspect_image
from mir_ops.formats.trees import DamagedEntryError, FileTree


class ReadImage(NamedTuple):
    """An image that is taken. `body` has its bytes, or is the path of a file to link."""

    name: str
    sha256: str
    body: bytes | str
    facts: ImageFacts


Refused = tuple[str, str]  # the issue (code, example) to count


Read = ReadImage | Refused


Batch = Sequence[str]  # names


def read_image(tree: FileTree, name: str, link: bool) -> Read:
    """The image, or why it is not taken."""
    try:
        data = tree.read(name)
        facts = inspect_image(data)
    except DamagedEntryError:
        return "entry-damaged", name
    except ImageRefusedError as error:
        return error.code, f"{name}: {error}" if str(error) else name
    body = (tree.file(name) if link else None) or data
    return ReadImage(name, hashlib.sha256(data).hexdigest(), body, facts)


def bodies_of(batch: Iterable[Read]) -> list[tuple[str, bytes | str]]:
    """The blobs of a batch, by the hashes that name them."""
    return [(image.sha256, image.body) for image in batch if isinstance(image, ReadImage)]
