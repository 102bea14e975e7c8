"""Pascal VOC as the host writes it: corners are inclusive, and whole pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree


@dataclass(frozen=True)
class Box:
    """x, y of the top left corner, in pixels."""

    class_name: str
    x: float
    y: float
    w: float
    h: float


def read_voc(path: Path) -> list[Box]:
    """The boxes of one annotation file."""
    return [_read_object(element) for element in ElementTree.parse(path).iterfind("object")]


def _read_object(element: ElementTree.Element) -> Box:
    left, top, right, bottom = (
        float(element.findtext(f"bndbox/{name}", "nan"))
        for name in ("xmin", "ymin", "xmax", "ymax")
    )
    name = element.findtext("name", "").strip()
    return Box(name, left, top, right - left + 1, bottom - top + 1)
