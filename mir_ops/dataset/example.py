"""The archive that shows how a dataset is packed: a few drawn images with their annotations."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw

from mir_ops.errors import InvalidInputError
from mir_ops.formats.voc import VocFile, VocObject, write_voc

_SIZE: Final = (160, 120)
_SCENES: Final = (
    (("ball", (10, 20, 60, 60)), ("box", (90, 40, 50, 60))),
    (("box", (20, 10, 80, 50)),),
    (("ball", (30, 30, 40, 40)), ("ball", (100, 60, 30, 30))),
    (),
)


def write_example(path: Path) -> list[str]:
    """Write the archive, the same bytes every time, and return the names in it."""
    names = []
    try:
        with zipfile.ZipFile(path, "x", zipfile.ZIP_DEFLATED) as archive:
            for number, scene in enumerate(_SCENES, 1):
                for name, body in _entries(number, scene):
                    archive.writestr(zipfile.ZipInfo(name), body)
                    names.append(name)
    except FileExistsError:
        raise InvalidInputError(
            f"`{path}` exists", code="file-exists", hint="Remove it, or give another name"
        ) from None
    except OSError as error:
        raise InvalidInputError(
            f"Cannot write `{path}`: {error.strerror}", code="cannot-write", hint="Check the folder"
        ) from None
    return names


def _entries(
    number: int, scene: tuple[tuple[str, tuple[int, int, int, int]], ...]
) -> list[tuple[str, bytes]]:
    picture = Image.new("RGB", _SIZE, (235, 235, 225))
    draw = ImageDraw.Draw(picture)
    for kind, (x, y, w, h) in scene:
        place = (x, y, x + w - 1, y + h - 1)
        if kind == "ball":
            draw.ellipse(place, fill=(200, 60, 50))
        else:
            draw.rectangle(place, fill=(60, 100, 180))
    written = io.BytesIO()
    picture.save(written, "JPEG", quality=85)
    objects = tuple(VocObject(name=kind, box=box) for kind, box in scene)
    entries = [(f"images/{number:04}.jpg", written.getvalue())]
    if objects:  # an image without a file is one that nobody has labelled
        file = VocFile(filename=f"{number:04}.jpg", size=_SIZE, objects=objects)
        entries.append((f"annotations/{number:04}.xml", write_voc(file)))
    return entries
