"""An export that is imported again gives the same rows, as far as its format can carry them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from dataset_sources import OPERATIONS, folder_of, image
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mir_ops.dataset import ExportFolders, Report, export_dataset, import_dataset
from mir_ops.dataset.annotations import ImageFrames, annotation_table
from mir_ops.dataset.exporting import ExportFormat
from mir_ops.dataset.report import Tally
from mir_ops.formats.parsed import Collected, ObjectRow
from mir_ops.formats.rle import from_bitmap, read_runs, runs_of, to_bitmap, write_runs
from mir_ops.store import Operation, Store
from mir_ops.taxonomy import Taxonomy

WIDTH, HEIGHT = 64, 48
CLASSES = ("cat", "dog", 'a "b" <c> & d; é')
SHAPE = ["kind", "x", "y", "w", "h", "angle", "polygon", "rle"]
KEYS = ["asset_id", "annotation_id", "class_id"]
FLAGS = ["iscrowd", "difficult", "truncated", "occluded", "quality", "tags", "area"]

FLAG = st.none() | st.booleans()
SHARE = st.none() | st.floats(0, 1, width=32)
WORD = st.from_regex(r"[a-z_][a-z0-9_.-]{0,6}", fullmatch=True)
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]))
# Finer than anybody labels; what is finer still comes back within 1/256 of a pixel.
X, Y = (st.integers(0, side * 1024).map(lambda n: n / 1024) for side in (WIDTH, HEIGHT))
RING = st.lists(st.tuples(X, Y), min_size=3, max_size=5).map(
    lambda points: [float(side) for point in points for side in point]
)


@st.composite
def objects(draw: st.DrawFn, *, shapes: bool = True) -> ObjectRow:
    kind = draw(st.sampled_from(["box", "box", "rotated_box", "polygon", "mask"])) if shapes else ""
    left, right = sorted((draw(X), draw(X)))
    top, bottom = sorted((draw(Y), draw(Y)))
    polygon = draw(st.lists(RING, min_size=1, max_size=3)) if kind == "polygon" else None
    rle = None
    if kind == "mask":
        seed = draw(st.integers(0, 2**16))
        bitmap = np.random.default_rng(seed).random((HEIGHT, WIDTH)) < 0.3
        if draw(st.booleans()):  # one that hides no other, or few
            bitmap = np.zeros((HEIGHT, WIDTH), np.bool_)
            bitmap[seed % HEIGHT, seed % WIDTH :: 7] = True
        rle = write_runs(runs_of([from_bitmap(bitmap)]))[0].as_py()
    return ObjectRow(
        image=draw(st.integers(0, 2)),
        place=None,
        class_name=draw(st.sampled_from(CLASSES)),
        kind=kind,
        x=left,
        y=top,
        w=max(right - left, 0.5),
        h=max(bottom - top, 0.5),
        angle=draw(st.floats(-179, 180, width=32)) if kind == "rotated_box" else None,
        polygon=polygon,
        rle=rle,
        iscrowd=draw(st.none() | st.booleans()),
        difficult=draw(FLAG),
        truncated=draw(FLAG),
        occluded=draw(FLAG),
        quality=draw(SHARE),
        confidence=draw(SHARE),
        tags=list(draw(st.dictionaries(WORD, TEXT, max_size=2)).items()) or None,
    )


def put(store: Store, place: Path, rows: Sequence[ObjectRow], *, predictions: bool) -> None:
    """A version `a` with three images, of which the last is known to have nothing or something."""
    files = {f"images/{number}.jpg": image(number) for number in range(4)}
    import_dataset(store, folder_of(place / "in", files), "a", op_id=OPERATIONS[0])
    registry = store.register_classes([*CLASSES, *dict.fromkeys(row.class_name for row in rows)])
    ids = store.read("a").asset_ids().to_pylist()
    collected = Collected()
    collected.add_objects(rows)
    frames = ImageFrames(
        asset_ids=ids,
        widths=[WIDTH] * 4,
        heights=[HEIGHT] * 4,
        turns=[1] * 4,
        sources=[""] * 4,
    )
    class_ids = np.array([registry[row.class_name.lower()] for row in rows], np.int32)
    found = collected.parsed().objects
    table = annotation_table(found, class_ids, frames, Tally(), predictions=predictions)
    assets = store.read("a").assets()
    changed = {
        "split": ["train", "val", None, "test"],
        "attributes": [[("day", "sun & <rain>")], None, [("image_quality", "0.5")], None],
    }
    for name, values in changed.items():
        at = assets.schema.get_field_index(name)
        kind = assets.schema.field(name)
        assets = assets.set_column(at, kind, pa.array(values, kind.type))
    with store.edit(
        "a", op_id=OPERATIONS[1], operation=Operation(kind="test"), message="m"
    ) as edit:
        edit.put_taxonomy(Taxonomy.from_names(registry))
        edit.put_assets(assets)
        layer = "predictions:model" if predictions else "ground_truth"
        edit.put_layer(layer, table, assets=pa.array(ids[:3], pa.binary(32)))


def there_and_back(
    store: Store, place: Path, annotations: ExportFormat, *, predictions: bool = False
) -> tuple[Report, Report]:
    folders = ExportFolders.under(place / "out", annotations)
    pred_dir = None
    if predictions:
        pred_dir = place / "out-pred"
        folders = ExportFolders(images=place / "out/images", predictions=pred_dir)
    exported = export_dataset(store, "a", folders, annotations=annotations)
    result = import_dataset(
        store,
        place / "out",
        "b",
        op_id=OPERATIONS[2],
        image_sets=True,
        pred_dir=pred_dir,
    )
    return exported, result.report


def rows(store: Store, rev: str, layer: str, columns: Sequence[str]) -> pa.Table:
    return store.read(rev).layer(layer, columns=list(columns))


@pytest.mark.parametrize("annotations", ["voc", "coco"])
@settings(max_examples=12)
@given(drawn=st.lists(objects(), max_size=6))
def test_voc_and_coco_bring_everything_back(
    annotations: ExportFormat, drawn: list[ObjectRow]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open("memory:")
        put(store, Path(folder), drawn, predictions=False)

        exported, imported = there_and_back(store, Path(folder), annotations)

        assert exported.issues == ()
        assert imported.issues == ()
        columns = [*KEYS, *SHAPE, *FLAGS]
        first, second = (rows(store, rev, "ground_truth", columns) for rev in "ab")
        assert_same(second, first)
        before, after = store.read("a"), store.read("b")
        assert after.layer_assets("ground_truth") == before.layer_assets("ground_truth")
        wanted = ["asset_id", "width", "height", "attributes"]
        assert after.assets(columns=wanted) == before.assets(columns=wanted)
        seen = before.layer_assets("ground_truth") if annotations == "coco" else before.asset_ids()
        assert after.assets(["split"], ids=seen) == before.assets(["split"], ids=seen)


@pytest.mark.parametrize("annotations", ["voc", "coco"])
@settings(max_examples=6)
@given(drawn=st.lists(objects(), max_size=6))
def test_predictions_come_back_with_their_confidence(
    annotations: ExportFormat, drawn: list[ObjectRow]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open("memory:")
        put(store, Path(folder), drawn, predictions=True)

        there_and_back(store, Path(folder), annotations, predictions=True)

        columns = [*KEYS, *SHAPE, "confidence"]
        first = rows(store, "a", "predictions:model", columns)
        assert_same(rows(store, "b", "predictions:imported", columns), first)


@settings(max_examples=12)
@given(drawn=st.lists(objects(shapes=False), max_size=6))
def test_yolo_brings_boxes_classes_and_splits_back_and_counts_the_rest(
    drawn: list[ObjectRow],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open("memory:")
        put(store, Path(folder), drawn, predictions=False)

        exported, imported = there_and_back(store, Path(folder), "yolo")

        assert imported.issues == ()
        first, second = (rows(store, rev, "ground_truth", [*KEYS, *SHAPE]) for rev in "ab")
        assert_same(second, first)
        before, after = store.read("a"), store.read("b")
        covered = before.layer_assets("ground_truth")
        assert after.layer_assets("ground_truth") == covered
        assert after.assets(["split"], ids=covered) == before.assets(["split"], ids=covered)
        kept = rows(store, "a", "ground_truth", FLAGS)
        stated = sum(len(kept) - kept[name].null_count for name in FLAGS[:-1])
        assert sum(issue.count for issue in exported.issues) == stated + 2  # and two attributes


@settings(max_examples=8)
@given(drawn=st.lists(RING.filter(lambda ring: _area(ring) > 1), max_size=4, unique_by=str))
def test_yolo_brings_polygons_back(drawn: list[list[float]]) -> None:
    polygons = [
        ObjectRow(0, None, "cat", "polygon", None, None, None, None, polygon=[ring])
        for ring in drawn
    ]
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open("memory:")
        put(store, Path(folder), polygons, predictions=False)

        there_and_back(store, Path(folder), "yolo")

        first, second = (rows(store, rev, "ground_truth", [*KEYS, *SHAPE]) for rev in "ab")
        assert_same(second, first)


@pytest.mark.parametrize("annotations", ["voc", "coco", "yolo"])
def test_a_box_that_counts_pixels_from_one_is_kept_exactly(
    tmp_path: Path, annotations: ExportFormat
) -> None:
    store = Store.open("memory:")
    whole = ObjectRow(0, None, "cat", "box", 1.0, 1.0, float(WIDTH), float(HEIGHT))
    put(store, tmp_path, [whole], predictions=False)

    _, imported = there_and_back(store, tmp_path, annotations)

    assert imported.issues == ()
    first, second = (rows(store, rev, "ground_truth", SHAPE) for rev in "ab")
    assert second == first


def mask(bitmap: np.ndarray, name: str = "cat", image: int = 0) -> ObjectRow:
    text = write_runs(runs_of([from_bitmap(bitmap)]))[0].as_py()
    return ObjectRow(image, None, name, "mask", None, None, None, None, rle=text)


def stripe(number: int) -> np.ndarray:
    bitmap = np.zeros((HEIGHT, WIDTH), np.bool_)
    bitmap[number, number:] = True
    return bitmap


def test_masks_are_exported_as_voc_has_them(tmp_path: Path) -> None:
    store = Store.open("memory:")
    over = stripe(3) | stripe(5)
    put(store, tmp_path, [mask(stripe(1)), mask(stripe(3), "dog"), mask(over)], predictions=False)

    there_and_back(store, tmp_path, "voc")

    objects, classes = (
        [Image.open(path) for path in (tmp_path / "out" / folder).iterdir()]
        for folder in ("SegmentationObject", "SegmentationClass")
    )
    assert [image.mode for image in (*objects, *classes)] == ["P", "P"]
    assert objects[0].getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]
    pixels, kinds = np.asarray(objects[0]), np.asarray(classes[0])
    table = rows(store, "a", "ground_truth", ["class_id", "rle"])
    runs, _ = read_runs(table["rle"].combine_chunks())
    for number in range(3):
        inside = to_bitmap(runs.of(number), WIDTH, HEIGHT)
        shown = pixels == number + 1
        assert (shown & ~inside).sum() == 0
        assert len(set(kinds[shown].tolist())) <= 1
    xml = next((tmp_path / "out" / "annotations").glob("*.xml")).read_text()
    assert [xml.count(text) for text in ("<mask>", "<rle", "<segmented>1<")] == [3, 1, 1]
    listed = (tmp_path / "out" / "labelmap.txt").read_text().splitlines()
    assert listed[1:3] == ["background:0,0,0::", "cat:128,0,0::"]


@pytest.mark.parametrize("layout", ["ymir", "flat", "voc"])
def test_masks_come_back_and_those_of_predictions_beside_them(tmp_path: Path, layout: str) -> None:
    store = Store.open("memory:")
    put(store, tmp_path, [mask(stripe(1)), mask(stripe(2), image=2)], predictions=False)
    with store.edit(
        "a", op_id=OPERATIONS[5], operation=Operation(kind="test"), message="m"
    ) as edit:
        truth = store.read("a").layer("ground_truth")
        confidence = pa.array([1.0] * len(truth), pa.float32())
        moved = truth.append_column("confidence", confidence)
        edit.put_layer("predictions:m", moved, assets=store.read("a").layer_assets("ground_truth"))
    out, predictions = tmp_path / "out", tmp_path / "out" / "pred"
    folders = ExportFolders(images=out / "i", ground_truth=out / "gt", predictions=predictions)
    if layout == "voc":
        folders = ExportFolders.under(out, "voc", predictions=predictions)

    export_dataset(store, "a", folders, sub_folders=layout == "ymir")
    result = import_dataset(
        store,
        out if layout == "voc" else out / "i",
        "b",
        op_id=OPERATIONS[6],
        gt_dir=None if layout == "voc" else out / "gt",
        pred_dir=predictions,
    )

    assert {issue.code for issue in result.report.issues} <= {"file-ignored"}
    for layer, back in (
        ("ground_truth", "ground_truth"),
        ("predictions:m", "predictions:imported"),
    ):
        first = rows(store, "a", layer, [*KEYS, *SHAPE])
        assert_same(rows(store, "b", back, [*KEYS, *SHAPE]), first)


def test_more_masks_and_classes_than_a_palette_has_come_back(tmp_path: Path) -> None:
    store = Store.open("memory:")
    drawn = []
    for number in range(300):
        bitmap = np.zeros(HEIGHT * WIDTH, np.bool_)
        bitmap[number * 10 : number * 10 + 7] = True
        drawn.append(mask(bitmap.reshape(HEIGHT, WIDTH), f"class {number}"))
    put(store, tmp_path, drawn, predictions=False)

    exported, imported = there_and_back(store, tmp_path, "voc")

    assert (exported.issues, imported.issues) == ((), ())
    first, second = (rows(store, rev, "ground_truth", [*KEYS, *SHAPE]) for rev in "ab")
    assert len(first) == 300
    assert_same(second, first)
    with Image.open(next((tmp_path / "out" / "SegmentationClass").iterdir())) as classes:
        assert classes.mode == "RGB"


def test_masks_that_are_not_wanted_are_counted(tmp_path: Path) -> None:
    store = Store.open("memory:")
    put(store, tmp_path, [mask(stripe(1)), mask(stripe(1) | stripe(2))], predictions=False)
    export_dataset(store, "a", ExportFolders.under(tmp_path / "out", "voc"))

    result = import_dataset(store, tmp_path / "out", "b", op_id=OPERATIONS[4], boxes_only=True)

    counted = {issue.code: issue.count for issue in result.report.issues}
    assert counted["shape-left-out"] == 2
    assert store.read("b").layer("ground_truth")["kind"].to_pylist() == ["box", "box"]


def assert_same(found: pa.Table, wanted: pa.Table) -> None:
    for name in wanted.column_names:
        assert found[name].to_pylist() == wanted[name].to_pylist(), name
    assert pc.all(pc.equal(found["class_id"], wanted["class_id"]), min_count=0).as_py()


def _area(ring: Sequence[float]) -> float:
    x, y = np.array(ring[0::2]), np.array(ring[1::2])
    bounds = (x.max() - x.min()) * (y.max() - y.min())
    return float(bounds)
