"""A store as the console meets it after many rounds: a million images, four million boxes.

    python benchmarks/console_store.py --images 1000000

makes it once and prints its address; another call with the same size finds it. Branch
`big/training` of project `big` has an import, the predictions of a model on a seventh of the images
with the marks of an evaluation, mining scores with picks, and then 200 small commits. Tag `before`
is the version that these start from.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image, ImageDraw
from store_data import BOXES, CHANGED, CLASSES, asset_rows, box_rows, random_ids

from mir_ops.evaluation.materials import read_material
from mir_ops.evaluation.versions import Settings, commit_marks, evaluate_material
from mir_ops.store import Operation, Store, Version
from mir_ops.store.schema import ASSET_ID, PREDICTIONS, SCORES, TEXT_MAP
from mir_ops.taxonomy import ClassName, Taxonomy

PROJECT = "big"
BRANCH = "big/training"
BEFORE = "before"
MODEL = "0123456789abcdef"
PICTURES = 240  # images whose bytes are there: those that mining picked
COMMITS = 200
FOLDER = Path.home() / ".cache" / "mir-ops" / "benchmarks"

_WEATHER = ("sun", "rain", "snow", "fog")
_SIZE = (1280, 720)
_SCORED = 5  # one of so many images has a mining score


def big_store(images: int, folder: Path = FOLDER) -> Store:
    """The store of this size: the one that was made before, or a new one."""
    place = folder / f"console-{images}-2"
    if not place.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="unfinished-", dir=folder) as unfinished:
            made = Path(unfinished) / "store"
            _make(Store.open(made.as_uri(), create=True), images)
            if not place.exists():  # somebody else was faster
                made.rename(place)
    return Store.open(place.as_uri())


def _make(store: Store, images: int) -> None:
    pictures = [_picture(number) for number in range(min(PICTURES, images // 4))]
    store.put_blobs(pictures)
    shown = _sorted(hashlib.sha256(picture).digest() for picture in pictures)
    ids = _sorted([*random_ids(images - len(shown), 1).to_pylist(), *shown.to_pylist()])
    _import(store, ids, shown)
    _predict(store)
    _pick(store, shown)
    store.create_tag(BEFORE, store.branch(BRANCH).tip().id)
    for number in range(COMMITS):
        _relabel(store, ids, number)


def _sorted(ids: Iterable[bytes]) -> pa.Array:
    return pa.array(sorted(ids), ASSET_ID)


def _operation(kind: str, **parameters: object) -> Operation:
    return Operation(kind=kind, parameters=parameters, code_version="0")


def _import(store: Store, ids: pa.Array, shown: pa.Array) -> None:
    known = store.register_classes([f"class {number:02}" for number in range(CLASSES + 1)])
    assets = _described(asset_rows(ids), shown)
    boxes = box_rows(ids)
    boxes = _with(boxes, "class_id", pc.add(boxes["class_id"], min(known.values())))
    boxes = _with(boxes, "tags", _tags(boxes))
    with store.edit(
        BRANCH, op_id="import", operation=_operation("import"), message="Import", project=PROJECT
    ) as edit:
        edit.put_taxonomy(Taxonomy(tuple(ClassName(id_, name) for name, id_ in known.items())))
        edit.put_assets(assets)
        edit.put_layer("ground_truth", boxes, assets=ids)


def _described(assets: pa.Table, shown: pa.Array) -> pa.Table:
    """With splits, weather, and the size of the pictures."""
    count, dice = assets.num_rows, np.random.default_rng(3)
    names = pa.array(["train", "val", "test", None])
    splits = names.take(pa.array(dice.choice(4, count, p=[0.8, 0.1, 0.05, 0.05])))
    weather = pa.array(_WEATHER).take(pa.array(dice.integers(0, len(_WEATHER), count)))
    keys = pa.array(["weather"]).take(pa.array(np.zeros(count, np.int32)))
    attributes = pa.MapArray.from_arrays(
        pa.array(np.arange(count + 1, dtype=np.int32)), keys, weather
    )
    real = pc.is_in(assets["asset_id"], value_set=shown)
    for name, size in zip(("width", "height"), _SIZE, strict=True):
        column = pc.if_else(real, pa.scalar(size, pa.int32()), assets[name])
        assets = _with(assets, name, column)
    return _with(_with(assets, "split", splits), "attributes", attributes)


def _tags(boxes: pa.Table) -> pa.Array:
    """On one box of fifty: who drew it."""
    tagged = np.arange(boxes.num_rows) % 50 == 0
    count = int(tagged.sum())
    zeros = pa.array(np.zeros(count, np.int32))
    offsets = np.concatenate([[0], np.cumsum(tagged)]).astype(np.int32)
    return pa.MapArray.from_arrays(
        pa.array(offsets), pa.array(["source"]).take(zeros), pa.array(["night shift"]).take(zeros)
    ).cast(TEXT_MAP)


def _with(table: pa.Table, name: str, column: pa.Array | pa.ChunkedArray) -> pa.Table:
    field = table.schema.field(name)
    return table.set_column(table.schema.get_field_index(name), field, column.cast(field.type))


def _predict(store: Store) -> None:
    """Boxes of a model near those of people on the images of val and test, and their marks."""
    version = store.read(BRANCH)
    assets = version.assets(columns=["asset_id", "split"])
    chosen = assets.filter(pc.is_in(assets["split"], value_set=pa.array(["val", "test"])))
    ids = chosen["asset_id"].combine_chunks()
    layer = f"predictions:{MODEL}"
    with store.edit(
        BRANCH,
        op_id="predict",
        operation=_operation("infer", model=MODEL),
        message="Predict",
        project=PROJECT,
    ) as edit:
        edit.put_layer(layer, _predictions(version.layer("ground_truth", ids=ids)), assets=ids)
    version = store.read(BRANCH)
    material = read_material(version)
    evaluation = evaluate_material(material, Settings(confidence=0.3))
    commit_marks(
        store,
        version,
        material,
        evaluation,
        branch=BRANCH,
        op_id="evaluate",
        message="Evaluate",
        project=PROJECT,
    )


def _predictions(truth: pa.Table) -> pa.Table:
    """Seven of eight boxes, moved a little, one in ten of another class."""
    dice = np.random.default_rng(4)
    found = truth.filter(pa.array(dice.random(truth.num_rows) < 0.875))
    count = found.num_rows
    moved = {
        name: pa.array((found[name].to_numpy() + dice.normal(0, 6, count)).astype(np.float32))
        for name in ("x", "y")
    }
    classes = found["class_id"].to_numpy()
    other = np.where(dice.random(count) < 0.1, np.roll(classes, 1), classes)
    columns = {
        **{name: found[name] for name in ("asset_id", "annotation_id", "kind", "w", "h")},
        **moved,
        "class_id": pa.array(other),
        "confidence": pa.array(dice.random(count).astype(np.float32)),
    }
    arrays = [columns.get(field.name, pa.nulls(count, field.type)) for field in PREDICTIONS]
    return pa.Table.from_arrays(arrays, schema=PREDICTIONS)


def _pick(store: Store, shown: pa.Array) -> None:
    """Scores of a fifth of the images; picked are those that can be seen."""
    ids = store.read(BRANCH).asset_ids()
    shows = np.asarray(pc.is_in(ids, value_set=shown))
    places = np.flatnonzero((np.arange(len(ids)) % _SCORED == 0) | shows)
    dice = np.random.default_rng(5)
    scores, picked = dice.random(len(places)), shows[places]
    scores[picked] += 1
    rank = np.full(len(places), -1)
    rank[np.flatnonzero(picked)[np.argsort(-scores[picked])]] = np.arange(picked.sum())
    reasons = [f"uncertain: {one:.2f}" for one in scores[picked]]
    at = np.cumsum(picked) - 1
    columns = {
        "asset_id": ids.take(pa.array(places)),
        "score": pa.array(scores),
        "rank": pa.array(rank, mask=~picked),
        "reason": pa.array(reasons, pa.string()).take(pa.array(at, mask=~picked)),
    }
    arrays = [columns.get(f.name, pa.nulls(len(places), f.type)) for f in SCORES]
    with store.edit(
        BRANCH, op_id="mine", operation=_operation("mine"), message="Mine", project=PROJECT
    ) as edit:
        edit.put_layer("scores:uncertainty", pa.Table.from_arrays(arrays, schema=SCORES))


def _relabel(store: Store, ids: pa.Array, number: int) -> None:
    """Other boxes on some images, and a few new images."""
    places = np.unique(np.linspace(number, len(ids) - 1, CHANGED // 2).astype(int))
    chosen, new = ids.take(pa.array(places)), random_ids(20, 100 + number)
    touched = _sorted([*chosen.to_pylist(), *new.to_pylist()])
    first = min(store.classes().values())
    boxes = box_rows(touched, seed=number + 1)
    with store.edit(
        BRANCH,
        op_id=f"relabel-{number}",
        operation=_operation("import"),
        message=f"Correct {len(chosen)} images, add {len(new)}",
        project=PROJECT,
    ) as edit:
        edit.put_assets(asset_rows(new))
        edit.put_layer(
            "ground_truth",
            _with(boxes, "class_id", pc.add(boxes["class_id"], first)),
            assets=touched,
        )


def _picture(number: int) -> bytes:
    """A street at dusk, as far as rectangles can be one."""
    dice = np.random.default_rng(number)
    width, height = _SIZE
    shade = np.linspace(90, 30, height)[:, None, None] * np.array([1.0, 0.9, 1.2])
    grain = dice.normal(0, 9, (height // 4, width // 4, 1)).repeat(4, 0).repeat(4, 1)
    image = Image.fromarray(np.clip(shade + grain, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(9):
        x, y = dice.integers(0, width - 60), dice.integers(0, height - 60)
        w, h = dice.integers(40, 320, 2)
        fill = tuple(int(one) for one in dice.integers(40, 230, 3))
        draw.rectangle((int(x), int(y), int(x + w), int(y + h)), fill=fill)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()


def before_and_after(store: Store) -> tuple[Version, Version]:
    """Two versions that are 200 commits apart."""
    return store.read(BEFORE), store.read(BRANCH)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where it is kept")
    options = parser.parse_args()
    store = big_store(options.images, options.folder)
    print(store.url)
    print(*(version.id for version in before_and_after(store)))
    print(f"{options.images * BOXES} boxes in the first version")
    return 0


if __name__ == "__main__":
    sys.exit(main())
