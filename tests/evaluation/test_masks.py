"""Masks: COCO's metrics against faster-coco-eval, pixels against a count of pixels."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from evaluation_data import asset_id, assets, commit, rows
from faster_coco_eval import COCO, COCOeval_faster
from faster_coco_eval.core import mask as tools
from hypothesis import given, settings
from hypothesis import strategies as st

from mir_ops.cli.main import main
from mir_ops.cli.repository import find_repository
from mir_ops.errors import InvalidInputError
from mir_ops.evaluation.curves import curves_of
from mir_ops.evaluation.masks import rles_of, semantic_of, with_masks
from mir_ops.evaluation.matching import match
from mir_ops.evaluation.sides import Sides, read_sides

WIDE, HIGH, IMAGES, CLASSES = 60, 50, 4, {0: "cat", 1: "dog"}
NAMES = [f"image{n}" for n in range(IMAGES)]


def assets_of(width: int = WIDE, height: int = HIGH) -> pa.Table:
    return assets(NAMES, width=[width] * IMAGES, height=[height] * IMAGES)


def blobs(rng: np.random.Generator, count: int, near: list[np.ndarray]) -> list[np.ndarray]:
    """Bitmaps: ellipses, of which some are close to others."""
    down, right = np.mgrid[:HIGH, :WIDE]
    found = []
    for _ in range(count):
        if near and rng.random() < 0.7:
            found.append(np.roll(near[rng.integers(len(near))], rng.integers(-2, 3, 2), (0, 1)))
            continue
        x, y = rng.integers(0, WIDE), rng.integers(0, HIGH)
        a, b = rng.integers(2, 20, 2)
        found.append(((right - x) / a) ** 2 + ((down - y) / b) ** 2 <= 1)
    return found


def tables(seed: int) -> tuple[pa.Table, pa.Table, list[Any], list[Any]]:
    """Both sides as tables and as COCO's dictionaries: run lengths, polygons and boxes."""
    rng = np.random.default_rng(seed)
    truth = blobs(rng, 14, [])
    found = blobs(rng, 30, truth)
    sides = []
    for masks, extra in ((truth, {}), (found, {"confidence": rng.random(30).round(3).tolist()})):
        images = rng.integers(0, IMAGES, len(masks))
        labels = rng.integers(0, 2, len(masks))
        shapes = [_shape(mask, n) for n, mask in enumerate(masks)]
        boxes = [tuple(map(float, tools.toBbox(shape[2]))) for shape in shapes]
        table = rows(
            [(NAMES[i], int(c), b) for i, c, b in zip(images, labels, boxes, strict=True)],
            rle=[shape[0] for shape in shapes],
            polygon=[shape[1] for shape in shapes],
            area=[float(tools.area(shape[2])) for shape in shapes],
            iscrowd=[not extra and n % 7 == 3 for n in range(len(masks))],
            **extra,
        )
        coco = [
            {"id": n + 1, "image_id": int(i), "category_id": int(c), "bbox": list(b),
             "segmentation": shape[2], "area": float(tools.area(shape[2])),
             "iscrowd": int(not extra and n % 7 == 3),
             **({"score": float(np.float32(extra["confidence"][n]))} if extra else {})}
            for n, (i, c, b, shape) in enumerate(zip(images, labels, boxes, shapes, strict=True))
        ]  # fmt: skip
        sides.append((table, coco))
    return sides[0][0], sides[1][0], sides[0][1], sides[1][1]


def _shape(mask: np.ndarray, number: int) -> tuple[bytes | None, list[Any] | None, Any]:
    if number % 3 and mask.any():
        rle = tools.encode(np.asfortranarray(mask.astype(np.uint8)))
        return _bytes(rle["counts"]), None, rle
    ring = [5.0, 5.0, 30.5, 7.25, 20.0 + number % 5, 31.0]
    second = [40.0, 30.0, 55.0, 30.0, 47.5, 44.0]
    polygon = [ring, second] if number % 2 else [ring]
    return None, polygon, tools.merge(tools.frPyObjects(polygon, HIGH, WIDE))


def _bytes(counts: bytes | str) -> bytes:
    return counts if isinstance(counts, bytes) else counts.encode()


def sides_of(truth: pa.Table, found: pa.Table, width: int = WIDE) -> Sides:
    return read_sides(
        ground_truth=truth, predictions=found, assets=assets_of(width), classes=CLASSES
    )


@pytest.mark.parametrize("seed", range(4))
def test_mask_metrics_are_those_of_faster_coco_eval(seed: int) -> None:
    truth, found, coco_truth, coco_found = tables(seed)
    dataset = {
        "images": [
            {"id": n, "width": WIDE, "height": HIGH} for n in range(IMAGES)
        ],
        "categories": [{"id": id_, "name": name} for id_, name in CLASSES.items()],
    }  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        run = COCOeval_faster(
            COCO({**dataset, "annotations": coco_truth}),
            COCO({**dataset, "annotations": coco_found}),
            iouType="segm",
        )
        run.evaluate()
        run.accumulate()

    masks = [rles_of(table, assets_of()) for table in (truth, found)]
    sides, measure = with_masks(sides_of(truth, found), *masks)
    curves = curves_of(match(sides.truth, sides.found, measure=measure))

    theirs = np.asarray(run.eval["precision"])[..., -1]
    np.testing.assert_allclose(np.nan_to_num(curves.precision, nan=-1), theirs, rtol=0, atol=1e-9)
    assert np.nanmax(curves.precision) > 0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_pixels_are_counted_as_they_are_painted(seed: int) -> None:
    truth, found, _, _ = tables(seed)
    masks = [rles_of(table, assets_of()) for table in (truth, found)]

    pixels = semantic_of(sides_of(truth, found), *masks)

    hits, there, claimed = np.zeros(2), np.zeros(2), np.zeros(2)
    for name in NAMES:
        painted = []
        for table, drawn in zip((truth, found), masks, strict=True):
            canvas = np.full((HIGH, WIDE), 9)
            for n, row in enumerate(table.select(["asset_id", "class_id"]).to_pylist()):
                if row["asset_id"] == asset_id(name):
                    canvas[tools.decode(drawn[n]) == 1] = row["class_id"]
            painted.append(canvas)
        for label in (0, 1):
            real = painted[0] == label
            hits[label] += (real & (painted[1] == label)).sum()
            there[label] += real.sum()
            claimed[label] += ((painted[1] == label) & (painted[0] != 9)).sum()
    iou = hits / (there + claimed - hits)
    assert pixels.miou == pytest.approx(iou.mean())
    assert pixels.macc == pytest.approx((hits / there).mean())
    assert pixels.aacc == pytest.approx(hits.sum() / there.sum())
    assert list(pixels.iou.values()) == pytest.approx(iou.tolist())


def test_a_row_without_a_shape_is_its_rectangle() -> None:
    table = rows([(NAMES[0], 0, (10.0, 20.0, 6.0, 4.0))], rle=[None], polygon=[None])

    (rle,) = rles_of(table, assets_of())

    bitmap = np.zeros((HIGH, WIDE), np.uint8)
    bitmap[20:24, 10:16] = 1
    assert (tools.decode(rle) == bitmap).all()


@pytest.mark.parametrize("bad", ["runs", "size", "short", "nan"])
def test_masks_that_are_none_are_refused(bad: str) -> None:
    rle = _bytes(tools.encode(np.asfortranarray(np.ones((HIGH, WIDE), np.uint8)))["counts"])
    shape: dict[str, list[Any]] = {
        "runs": {"rle": [b"\x00\xff"], "polygon": [None]},
        "size": {"rle": [rle], "polygon": [None]},
        "short": {"rle": [None], "polygon": [[[1.0, 2.0, 3.0, 4.0]]]},
        "nan": {"rle": [None], "polygon": [[[1.0, 2.0, 3.0, float("nan"), 5.0, 6.0]]]},
    }[bad]
    table = rows([(NAMES[0], 0, (0.0, 0.0, 5.0, 5.0))], **shape)

    with pytest.raises(InvalidInputError) as caught:
        rles_of(table, assets_of(width=WIDE + 1))
    assert caught.value.code == "bad-mask"


def test_nothing_predicted_is_zero_and_nothing_labelled_is_unknown() -> None:
    truth, found, _, _ = tables(0)
    none = [0] * 0
    masks = [
        rles_of(table, assets_of()) for table in (truth, found.take(pa.array(none, pa.int64())))
    ]
    sides = sides_of(truth, found.slice(0, 0))

    shaped, measure = with_masks(sides, *masks)
    assert np.nanmax(curves_of(match(shaped.truth, shaped.found, measure=measure)).precision) == 0
    assert semantic_of(sides, *masks).miou == 0.0

    empty = sides_of(truth.slice(0, 0), found)
    assert semantic_of(empty, [], rles_of(found, assets_of())).to_dict()["miou"] is None


def test_mir_evaluate_tells_of_masks_and_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "repo").mkdir()
    monkeypatch.chdir(tmp_path / "repo")
    assert main(["init"]) == 0
    assert main(["classes", "add", "cat", "dog"]) == 0
    truth, found, _, _ = tables(1)
    store = find_repository(tmp_path / "repo").store
    commit(store, "street", {"ground_truth": truth, "predictions:m": found}, assets_of())
    capsys.readouterr()

    assert main(["evaluate", "street", "--masks", "--semantic", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert main(["evaluate", "street", "--masks", "--semantic", "--voc", "--by", "split"]) == 0
    text = capsys.readouterr().out

    assert 0 < report["masks"]["coco"]["AP"] < 1
    assert 0 < report["semantic"]["miou"] < 1
    assert f"mIoU {report['semantic']['miou']:.3f}" in text
    assert f"masks: AP {report['masks']['coco']['AP']:.3f}" in text
    assert "YMIR: mAP" in text
    assert "split val: AP" in text
