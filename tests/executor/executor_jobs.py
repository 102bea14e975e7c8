"""Small pictures and annotations, and what an executor could have written about them."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from mir_ops.formats.voc import VocFile, VocObject, write_voc

CLASSES = ("cat", "dog", "bird")
WIDTH, HEIGHT = 48, 32

Boxes = Sequence[tuple[str, float, float, float, float]]


def op_id(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def image_bytes(seed: int, *, kind: str = "JPEG", orientation: int = 1) -> bytes:
    dice = random.Random(seed)
    image = Image.frombytes("RGB", (6, 4), dice.randbytes(72)).resize((WIDTH, HEIGHT))
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"exif": exif} if orientation != 1 else {}))
    return buffer.getvalue()


def write_folder(folder: Path, images: Mapping[str, tuple[bytes, Boxes | None]]) -> Path:
    """A folder as a person would bring it; no boxes at all (None) means no annotation file."""
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    for name, (content, boxes) in images.items():
        suffix = "png" if content.startswith(b"\x89PNG") else "jpg"
        (folder / "images" / f"{name}.{suffix}").write_bytes(content)
        if boxes is not None:
            objects = tuple(VocObject(name=label, box=tuple(box)) for label, *box in boxes)
            file = VocFile(filename=name, size=(WIDTH, HEIGHT), objects=objects)
            (folder / "annotations" / f"{name}.xml").write_bytes(write_voc(file))
    return folder


def sha1_name(content: bytes, suffix: str = "jpg") -> str:
    digest = hashlib.sha1(content).hexdigest()
    return f"{digest[-2:]}/{digest}.{suffix}"
