"""A page with a picture of every pick, beside it why, and the labelled image most like it."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from mir_ops.mining.explaining import Choice, Explanation
from mir_ops.store.schema import ASSET_ID, layer_kind

if TYPE_CHECKING:
    from mir_ops.store import Store, Version

_SIDE: Final = 240
_FAINT: Final = 0.25  # boxes below are drawn thin
_MOST_BOXES: Final = 100


def write_page(
    store: Store, version: Version, explanation: Explanation, path: Path, *, title: str
) -> Path:
    """One HTML file without scripts that loads nothing: pictures are inside it."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("mir_ops.mining"), autoescape=True)
    page = environment.get_template("picks.html").render(
        title=title, explanation=explanation, cards=list(_cards(store, version, explanation))
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


def _cards(store: Store, version: Version, explanation: Explanation) -> Iterator[dict[str, Any]]:
    boxes = _boxes_by_asset(version, explanation.choices)
    sizes = _sizes(version, explanation.choices)
    for choice in explanation.choices:
        width, height = sizes[choice.asset_id]
        yield {
            "choice": choice,
            "width": width,
            "height": height,
            "picture": _picture(store, choice.asset_id),
            "nearest": _picture(store, choice.nearest) if choice.nearest else None,
            "boxes": boxes.get(choice.asset_id, []),
        }


def _picture(store: Store, asset_id: str) -> str | None:
    """A small upright copy as a data URL; None for what cannot be drawn."""
    from PIL import Image, ImageOps

    from mir_ops.errors import MirError

    try:
        with Image.open(io.BytesIO(store.get_blob(asset_id))) as image:
            image.draft("RGB", (_SIDE, _SIDE))
            small = ImageOps.exif_transpose(image).convert("RGB")
    except (MirError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    small.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _sizes(version: Version, choices: tuple[Choice, ...]) -> dict[str, tuple[int, int]]:
    rows = version.assets(columns=["asset_id", "width", "height"], ids=_ids(choices)).to_pylist()
    return {row["asset_id"].hex(): (row["width"], row["height"]) for row in rows}


def _boxes_by_asset(
    version: Version, choices: tuple[Choice, ...]
) -> Mapping[str, list[dict[str, Any]]]:
    """Predicted boxes of each pick, the surest first; none where the version keeps none."""
    layers = [name for name in version.layers() if layer_kind(name) == "predictions"]
    if not layers:
        return {}
    found = version.layer(
        layers[-1],
        columns=["asset_id", "class_id", "x", "y", "w", "h", "confidence"],
        ids=_ids(choices),
    )
    result: dict[str, list[dict[str, Any]]] = {}
    for row in found.sort_by([("confidence", "descending")]).to_pylist():
        mine = result.setdefault(row.pop("asset_id").hex(), [])
        if len(mine) < _MOST_BOXES:
            name = version.taxonomy.name_of(row.pop("class_id"))
            mine.append({**row, "name": name, "faint": row["confidence"] < _FAINT})
    return result


def _ids(choices: tuple[Choice, ...]) -> pa.Array:
    return pa.array([bytes.fromhex(choice.asset_id) for choice in choices], ASSET_ID)
