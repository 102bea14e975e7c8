"""The tables that rules look at, built from dataset versions in columns.

Whatever a rule needs is a column here, so that rules stay plain: a value between, a value among.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.store.schema import SPLITS

if TYPE_CHECKING:
    from mir_ops.store import Version

Source = Literal["training", "validation", "incoming"]

_LAYER: Final = "ground_truth"
_ASSET_COLUMNS: Final = ["asset_id", "split", "width", "height", "channels", "byte_size"]
_BOX_COLUMNS: Final = ["asset_id", "class_id", "kind", "x", "y", "w", "h"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """`key` is the column that names a row to people, `told` what they are told about it too."""

    name: str
    key: str
    told: tuple[str, ...] = ()
    rows: pa.Table


def build_tables(
    versions: Mapping[Source, Version], classes: Mapping[int, str], *, own_splits: bool = False
) -> dict[str, Table]:
    """Images of `incoming` count as training, of `validation` as validation. Those of `training`,
    with `own_splits` also of `incoming`, are in the split they say, or in training without one.
    """
    says_itself = {"training", "incoming"} if own_splits else {"training"}
    assets, boxes = [], []
    for source, version in versions.items():
        images = _read_assets(source, version, says_itself=source in says_itself)
        boxes.append(_read_boxes(source, version, images))
        assets.append(_with_box_counts(images, boxes[-1]))
    all_assets, all_boxes = pa.concat_tables(assets), pa.concat_tables(boxes)
    tables = [
        Table(name="assets", key="asset_id", told=("source",), rows=all_assets),
        Table(name="annotations", key="asset_id", told=("source",), rows=all_boxes),
        Table(name="classes", key="name", rows=_classes(all_boxes, classes)),
        Table(name="splits", key="asset_id", told=("splits",), rows=_splits(all_assets)),
    ]
    return {table.name: table for table in tables}


def read_names(versions: Mapping[Source, Version], keys: Collection[str]) -> dict[str, str]:
    """The file names of a few assets, by their ids in hex."""
    ids = pa.array([bytes.fromhex(key) for key in sorted(keys)], pa.binary(32))
    names = {}
    for version in versions.values():
        rows = version.assets(columns=["asset_id", "source_names"], ids=ids)
        for row in rows.to_pylist():
            if row["source_names"]:
                names[row["asset_id"].hex()] = _printable(row["source_names"][0])
    return names


def _printable(name: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in name)[:80]


def _read_assets(source: Source, version: Version, *, says_itself: bool) -> pa.Table:
    table = version.assets(columns=_ASSET_COLUMNS)
    split = pc.fill_null(table.column("split").cast(pa.string()), "train")
    if not says_itself:
        fixed = "val" if source == "validation" else "train"
        split = pa.repeat(fixed, table.num_rows)
    labelled = pc.is_in(table.column("asset_id"), value_set=version.layer_assets(_LAYER))
    table = table.set_column(table.column_names.index("split"), "split", split)
    table = table.append_column("labelled", labelled)
    return table.append_column("source", pa.repeat(source, table.num_rows))


def _read_boxes(source: Source, version: Version, images: pa.Table) -> pa.Table:
    boxes = version.layer(_LAYER, columns=_BOX_COLUMNS)
    position = pc.index_in(boxes.column("asset_id"), value_set=_whole(images.column("asset_id")))
    columns = {name: boxes.column(name) for name in ("asset_id", "class_id", "kind")}
    # Doubles: in single precision x + w of a box that touches the edge may lie beyond it.
    x, y, w, h = (boxes.column(name).cast(pa.float64()) for name in "xywh")
    width, height = (
        _whole(images.column(name)).take(position).cast(pa.float64())
        for name in ("width", "height")
    )
    columns |= {
        "source": pa.repeat(source, boxes.num_rows),
        "split": pc.fill_null(_whole(images.column("split")).take(position), "unknown"),
        "asset_known": pc.is_valid(position),
        "x": x,
        "y": y,
        "w": w,
        "h": h,
        "left_gap": x,
        "top_gap": y,
        "right_gap": pc.subtract(width, pc.add(x, w)),
        "bottom_gap": pc.subtract(height, pc.add(y, h)),
        "short_side": pc.min_element_wise(w, h, skip_nulls=False),
        "area": pc.multiply(w, h),
        "area_share": pc.divide(pc.multiply(w, h), pc.multiply(width, height)),
    }
    return pa.table(columns)


def _with_box_counts(images: pa.Table, boxes: pa.Table) -> pa.Table:
    counts = boxes.group_by("asset_id").aggregate([([], "count_all")])
    return images.append_column("boxes", _look_up(images.column("asset_id"), counts, "asset_id"))


def _classes(boxes: pa.Table, classes: Mapping[int, str]) -> pa.Table:
    """Every class of the project has a row, or a class that occurs nowhere would pass unseen."""
    ids = sorted(classes)
    columns = {
        "class_id": pa.array(ids, pa.int32()),
        "name": pa.array([classes[one] for one in ids], pa.string()),
    }
    for split in SPLITS:
        part = boxes.filter(pc.equal(boxes.column("split"), split))
        groups = part.group_by("class_id")
        counts = groups.aggregate([([], "count_all"), ("asset_id", "count_distinct")])
        found = _look_up(columns["class_id"], counts, "class_id")
        columns[f"{split}_boxes"] = found
        columns[f"{split}_images"] = _look_up(
            columns["class_id"], counts, "class_id", value="asset_id_count_distinct"
        )
        # Of no boxes at all every class has the share 0.
        columns[f"{split}_share"] = pc.divide(
            found.cast(pa.float64()), float(max(pc.sum(found).as_py() or 0, 1))
        )
    return pa.table(columns)


def _splits(assets: pa.Table) -> pa.Table:
    flags = {f"in_{split}": pc.equal(assets.column("split"), split) for split in SPLITS}
    wide = pa.table({"asset_id": assets.column("asset_id"), **flags})
    grouped = wide.group_by("asset_id").aggregate([(name, "max") for name in flags])
    columns = {"asset_id": grouped.column("asset_id")}
    columns |= {name: grouped.column(f"{name}_max") for name in flags}
    counts = [columns[name].cast(pa.int64()) for name in flags]
    columns["n_splits"] = pc.add(pc.add(counts[0], counts[1]), counts[2])
    names = [
        pc.if_else(columns[f"in_{split}"], pa.scalar(split), pa.scalar(None, pa.string()))
        for split in SPLITS
    ]
    columns["splits"] = pc.binary_join_element_wise(*names, "+", null_handling="skip")
    return pa.table(columns).sort_by("asset_id")


def _look_up(
    keys: pa.Array | pa.ChunkedArray, counts: pa.Table, key: str, *, value: str = "count_all"
) -> pa.Array:
    position = pc.index_in(keys, value_set=_whole(counts.column(key)))
    found = _whole(counts.column(value)).take(_whole(position))
    return pc.fill_null(found, 0)


def _whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(column, pa.Array):
        return column
    whole = column.combine_chunks()
    return whole if isinstance(whole, pa.Array) else pa.concat_arrays(whole.chunks)
