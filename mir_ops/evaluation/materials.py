"""Ground truth and predictions out of dataset versions, bound to where they came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.evaluation.sides import Sides, read_sides
from mir_ops.store import schema

if TYPE_CHECKING:
    from mir_ops.store import Version

_TRUTH: Final = ("asset_id", "annotation_id", "class_id", "x", "y", "w", "h", "area", "iscrowd")
_FOUND: Final = ("asset_id", "annotation_id", "class_id", "x", "y", "w", "h", "confidence")
_ASSETS: Final = ("asset_id", "split", "source_names", "attributes", "width", "height")
_SHAPES: Final = ("polygon", "rle")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Which commits, layer and model were measured, on what."""

    ground_truth: str  # commit id
    predictions: str  # commit id
    layer: str
    model: str | None
    stage: str | None
    split: str | None
    classes: tuple[str, ...]
    images: int
    not_labelled: int  # images with predictions that nobody has labelled: left out
    not_predicted: int  # labelled images that the model has not looked at: left out

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Ground truth and the predictions of one model, on the images that both cover."""

    origin: Origin
    sides: Sides
    assets: pa.Table
    ground_truth: pa.Table
    predictions: pa.Table


def read_material(
    truth: Version,
    predictions: Version | None = None,
    *,
    layer: str | None = None,
    classes: Mapping[int, str] | None = None,
    split: str | None = None,
    images: pa.Array | None = None,
    shapes: bool = False,
) -> Material:
    """Read both sides; `classes` is id to name, by default of all that occur on one of them.

    Images count that both have looked at, labelled and predicted, of the split and of `images`
    if these are given. With `shapes` polygons and masks are read too.
    """
    source = predictions or truth
    layer = find_layer(source, layer)
    labelled, looked_at = truth.layer_assets("ground_truth"), source.layer_assets(layer)
    both = labelled.filter(pc.is_in(labelled, value_set=looked_at))
    ids = both if images is None else both.filter(pc.is_in(both, value_set=images))
    assets = truth.assets(columns=list(_ASSETS), ids=ids)
    if split is not None:
        assets = assets.filter(pc.fill_null(pc.equal(assets["split"], split), False))
        ids = assets["asset_id"].combine_chunks()
    _refuse_no_images(ids, truth, source, split)
    more = _SHAPES if shapes else ()
    ground_truth = truth.layer("ground_truth", columns=[*_TRUTH, *more], ids=ids)
    found = source.layer(layer, columns=[*_FOUND, *more], ids=ids)
    if classes is None:
        classes = _occurring(truth, ground_truth, found)
    sides = read_sides(ground_truth=ground_truth, predictions=found, assets=assets, classes=classes)
    origin = Origin(
        ground_truth=truth.id,
        predictions=source.id,
        layer=layer,
        split=split,
        classes=sides.names,
        images=len(ids),
        not_labelled=len(looked_at) - len(both),
        not_predicted=len(labelled) - len(both),
        **_model(source, layer),
    )
    tables = {"assets": assets, "ground_truth": ground_truth, "predictions": found}
    return Material(origin=origin, sides=sides, **tables)


def on_the_same_images(a: Material, b: Material) -> tuple[Material, Material]:
    """Both on the images that both have, and with the classes of either."""
    common = a.sides.asset_ids.filter(pc.is_in(a.sides.asset_ids, value_set=b.sides.asset_ids))
    if not len(common):
        raise InvalidInputError(
            "The two have no image in common that is labelled and predicted on",
            code="nothing-to-evaluate",
            hint="Predict on the same images with both models",
        )
    classes = {
        class_id: name
        for each in (b, a)
        for class_id, name in zip(each.sides.class_ids, each.sides.names, strict=True)
    }
    return _limited(a, common, classes), _limited(b, common, classes)


def classes_named(version: Version, names: Sequence[str]) -> dict[int, str] | None:
    """The classes with these names or aliases, by id; None, which is all, without names."""
    taxonomy = version.taxonomy
    unknown = [name for name in names if taxonomy.id_of(name) is None]
    if unknown:
        raise NotFoundError(
            f"Commit {version.id[:12]} knows no class `{unknown[0]}`",
            code="unknown-class",
            hint=f"It knows {', '.join(taxonomy.names)}",
        )
    ids = [each for name in names if (each := taxonomy.id_of(name)) is not None]
    return {each: taxonomy.name_of(each) for each in ids} or None


def find_layer(version: Version, name: str | None = None) -> str:
    """The layer of predictions with this name, or of this model; without a name the only one."""
    layers = [each for each in version.layers() if schema.layer_kind(each) == "predictions"]
    if name is not None:
        matching = [each for each in layers if each == name or each == f"predictions:{name}"]
        matching = matching or [each for each in layers if each.startswith(f"predictions:{name}")]
        if len(matching) == 1:
            return matching[0]
    elif len(layers) == 1:
        return layers[0]
    held = ", ".join(f"`{each}`" for each in layers) or "none"
    raise NotFoundError(
        f"Commit {version.id[:12]} has not one layer of predictions"
        + (f" called `{name}`" if name else "")
        + f": {held}",
        code="no-such-layer",
        hint="Predict with `mir infer`" if not layers else "Choose one with `--layer NAME`",
    )


def _limited(material: Material, ids: pa.Array, classes: Mapping[int, str]) -> Material:
    assets, truth, found = (
        table.filter(pc.is_in(table["asset_id"], value_set=ids))
        for table in (material.assets, material.ground_truth, material.predictions)
    )
    sides = read_sides(ground_truth=truth, predictions=found, assets=assets, classes=classes)
    return replace(
        material,
        origin=replace(material.origin, images=len(ids), classes=sides.names),
        sides=sides,
        assets=assets,
        ground_truth=truth,
        predictions=found,
    )


def _model(source: Version, layer: str) -> dict[str, str | None]:
    """The model that a layer is of, and its stage where the commit made the predictions."""
    made, model = source.commit.operation.parameters, layer.partition(":")[2] or None
    return {"model": model, "stage": made.get("stage") if made.get("model") == model else None}


def _refuse_no_images(ids: pa.Array, truth: Version, source: Version, split: str | None) -> None:
    if not len(ids):
        raise InvalidInputError(
            f"No image is labelled in commit {truth.id[:12]} and predicted on in {source.id[:12]}"
            + (f", and in split `{split}`" if split else ""),
            code="nothing-to-evaluate",
            hint="Predict on the labelled images first: `mir infer`",
        )


def _occurring(truth: Version, ground_truth: pa.Table, found: pa.Table) -> dict[int, str]:
    """Every class on one of the sides; one that the version does not know has its number."""
    used = {int(each) for t in (ground_truth, found) for each in np.unique(t["class_id"])}
    names = {each: truth.taxonomy.name_of(each) for each in truth.taxonomy.ids}
    return {each: names.get(each, f"class {each}") for each in used}
