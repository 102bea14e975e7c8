"""Small sources as users bring them: images that differ by a number, VOC files, zips, folders."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

OPERATIONS = [f"{number:064x}" for number in range(1, 20)]


def image(
    number: int = 0, size: tuple[int, int] = (64, 48), kind: str = "JPEG", turned: int = 1
) -> bytes:
    """The bytes of an image; equal numbers give equal bytes."""
    pixels = np.random.default_rng(number).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = turned
    written = io.BytesIO()
    if turned == 1:
        Image.fromarray(pixels).save(written, kind)
    else:
        Image.fromarray(pixels).save(written, kind, exif=exif)
    return written.getvalue()


def box(name: str, *corners: object, extra: str = "") -> str:
    places = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    inner = "".join(f"<{place}>{value}</{place}>" for place, value in places)
    return f"<object><name>{name}</name><bndbox>{inner}</bndbox>{extra}</object>"


def voc(
    *objects: str, size: tuple[int, int] = (64, 48), filename: str = "", more: str = ""
) -> bytes:
    return (
        f"<annotation><filename>{filename}</filename><size><width>{size[0]}</width>"
        f"<height>{size[1]}</height><depth>3</depth></size>{more}{''.join(objects)}</annotation>"
    ).encode()


def zip_of(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def folder_of(path: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path
