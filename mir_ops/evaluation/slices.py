"""The same metrics on parts of the images: by split, source or an attribute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.errors import InvalidInputError
from mir_ops.evaluation.coco import summary_of
from mir_ops.evaluation.columns import Flags
from mir_ops.evaluation.curves import curves_of
from mir_ops.evaluation.matching import Matches
from mir_ops.store import rows

MOST_VALUES: Final = 100
NO_VALUE: Final = "none"
_ATTRIBUTE: Final = "attribute:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """COCO's numbers on the images that have one value of something; None: not measurable."""

    by: str
    value: str
    images: int
    boxes: int
    coco: Mapping[str, float | None]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def slices_of(matches: Matches, assets: pa.Table, asset_ids: pa.Array, by: str) -> list[Slice]:
    """One slice for each value of `split`, `source` or `attribute:NAME`, by value.

    `assets` has a row for each of `asset_ids`. The source of an image is the folder of its first
    name. Images without a value are the slice `none`.
    """
    order = pc.index_in(asset_ids, value_set=rows.one_array(assets["asset_id"]))
    values = pc.fill_null(_values(assets.take(order), by), NO_VALUE)
    found = sorted(pc.unique(values).to_pylist())
    if len(found) > MOST_VALUES:
        raise InvalidInputError(
            f"`{by}` has {len(found)} values, which are too many for slices",
            code="too-many-slices",
            hint=f"Slice by something that has at most {MOST_VALUES}",
        )
    return [
        _slice(matches, by, value, np.asarray(pc.equal(values, value), np.bool_)) for value in found
    ]


def check_slice(by: str) -> None:
    """Refuse what images cannot be sliced by."""
    known = by in ("split", "source") or (by.startswith(_ATTRIBUTE) and by != _ATTRIBUTE)
    if not known:
        raise InvalidInputError(
            f"Images cannot be sliced by `{by}`",
            code="bad-slice",
            hint="Slice by `split`, `source` or `attribute:NAME`; sizes are always told",
        )


def _values(assets: pa.Table, by: str) -> pa.Array:
    check_slice(by)
    if by == "split":
        return rows.one_array(assets["split"])
    if by == "source":
        names = rows.one_array(assets["source_names"])
        first = pc.list_element(
            pc.if_else(pc.equal(pc.list_value_length(names), 0), None, names), 0
        )
        folder = pc.extract_regex(first, r"^(?P<folder>.+)/[^/]*$")
        return pc.struct_field(folder, "folder")
    key = by.removeprefix(_ATTRIBUTE)
    return pc.map_lookup(rows.one_array(assets["attributes"]), key, "first")


def _slice(matches: Matches, by: str, value: str, images: Flags) -> Slice:
    curves = curves_of(matches, images=images)
    return Slice(
        by=by,
        value=value,
        images=int(images.sum()),
        boxes=int(curves.positives[:, 0].sum()),
        coco=summary_of(curves),
    )
