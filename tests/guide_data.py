"""The data that the guides' sequence is tested with: bright squares on dark ground."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

COLOURS = {"person": (200, 40, 40), "cat": (40, 200, 40)}


def write_set(folder: Path, first: int, count: int) -> Path:
    """Images of one bright object each, VOC files, and an index as `find` writes it."""
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    for number in range(first, first + count):
        name = list(COLOURS)[number % 2]
        x, y = 4 + number * 5 % 30, 4 + number * 3 % 24
        image = Image.new("RGB", (64, 56), (number % 40, 30, 20))
        image.paste(COLOURS[name], (x, y, x + 20, y + 20))
        image.save(folder / f"images/{number:03}.png")
        corners = f"<xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x + 19}</xmax><ymax>{y + 19}</ymax>"
        (folder / f"annotations/{number:03}.xml").write_text(
            f"<annotation><object><name>{name}</name><bndbox>{corners}</bndbox></object></annotation>"
        )
    index = folder / "index.tsv"
    index.write_text("".join(f"{path}\n" for path in sorted((folder / "images").iterdir())))
    return index
