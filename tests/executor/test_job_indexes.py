"""Every file of `/in` that images of this contract look for, beyond the two that all use."""

from __future__ import annotations

import json
from dataclasses import replace

import pyarrow as pa
import pytest
import yaml
from executor_jobs import image_bytes, op_id, sha1_name

from mir_ops.errors import InvalidInputError
from mir_ops.executor import ModelFiles, bundled_image
from mir_ops.formats.voc import read_voc, write_voc
from mir_ops.store import Operation, Store, Version, schema

INDEXES = {
    "train-index.tsv": 4,
    "val-index.tsv": 3,
    "test-index.tsv": 0,
    "pred-train-index.tsv": 1,
    "pred-val-index.tsv": 0,
    "pred-test-index.tsv": 0,
    "idx-assets.tsv": 7,
    "idx-gt.tsv": 7,
    "idx-pred.tsv": 1,
}


@pytest.fixture
def predicted(store: Store, version: Version) -> Version:
    """The version with a prediction, and a polygon and a mask as ground truth."""
    assets = version.assets().filter(
        [name[0].endswith("plain.jpg") for name in version.assets()["source_names"].to_pylist()]
    )
    asset_id = assets["asset_id"][0].as_py()
    row = {"asset_id": asset_id, "class_id": store.classes()["cat"], "x": 1, "y": 2, "w": 4, "h": 3}
    ring = [[1, 2, 5, 2, 5, 5]]
    shaped = [
        {**row, "annotation_id": 0, "kind": "polygon", "polygon": ring, "area": 6}
        | {"angle": 45.0, "quality": 0.75},
        {**row, "annotation_id": 1, "kind": "mask", "rle": b"52203", "area": 9, "iscrowd": True},
    ]
    guess = {**row, "annotation_id": 0, "kind": "box", "confidence": 0.5}
    with store.edit(
        "with-predictions",
        op_id=op_id("predictions"),
        operation=Operation(kind="test"),
        message="Predict",
        base=version,
    ) as edit:
        edit.put_layer("predictions:m", pa.Table.from_pylist([guess], schema.PREDICTIONS))
        edit.put_layer("ground_truth", pa.Table.from_pylist(shaped, schema.GROUND_TRUTH))
    return store.read(edit.commit)


def test_every_index_is_there(prepare, predicted: Version) -> None:
    job = prepare(version=predicted, op_id=op_id("indexes"))

    lines = {name: (job.inputs / name).read_text().splitlines() for name in INDEXES}
    assert {name: len(found) for name, found in lines.items()} == INDEXES
    plain = sha1_name(image_bytes(1))[:-4]
    assert lines["pred-train-index.tsv"] == [f"/in/assets/{plain}.jpg\t/in/predictions/{plain}.xml"]
    assert "<confidence>0.5" in (job.inputs / f"predictions/{plain}.xml").read_text()
    assert all("\t" not in line for line in lines["idx-assets.tsv"])


def test_voc_files_are_those_of_the_formats_writer(prepare, predicted: Version) -> None:
    job = prepare(version=predicted, op_id=op_id("voc"))

    files = sorted(job.inputs.glob("*/*/*.xml"))
    assert len(files) == 8
    read = [read_voc(path.read_bytes()) for path in files]
    assert [write_voc(one) for one in read] == [path.read_bytes() for path in files]
    assert all(one.filename.startswith("/in/assets/") for one in read)
    objects = [one for file in read for one in file.objects]
    said = {(one.name, one.box, one.angle, one.quality, one.confidence) for one in objects}
    assert ("cat", (1, 2, 4, 3), 45.0, 0.75, None) in said
    assert ("cat", (1, 2, 4, 3), None, None, 0.5) in said


def test_ark_lines_say_quality_and_angle(prepare, predicted: Version) -> None:
    config = {"export_format": "ark:raw"}
    job = prepare(version=predicted, op_id=op_id("ark"), config=config)

    plain = sha1_name(image_bytes(1))[:-4]
    assert (job.inputs / f"annotations/{plain}.txt").read_text().splitlines() == [
        "1, 1, 2, 4, 4, 0.7500, 0.2500",
        "1, 1, 2, 4, 4, -1.0000, 0.0000",
    ]


def test_coco_counts_classes_from_zero_and_keeps_shapes(prepare, predicted: Version) -> None:
    job = prepare(version=predicted, op_id=op_id("coco"), config={"export_format": "seg-coco:raw"})

    path = "/in/annotations/coco-annotations.json"
    lines = (job.inputs / "train-index.tsv").read_text().splitlines()
    assert {line.split("\t")[1] for line in lines} == {path}
    content = json.loads((job.folder / path.lstrip("/")).read_text())
    assert content["categories"] == [
        {"id": 0, "name": "dog", "supercategory": "object"},
        {"id": 1, "name": "cat", "supercategory": "object"},
    ]
    assert len(content["images"]) == 7
    name = sha1_name(image_bytes(1)).partition("/")[2]
    number = next(image["id"] for image in content["images"] if image["file_name"] == name)
    found = [entry for entry in content["annotations"] if entry["image_id"] == number]
    assert [entry["segmentation"] for entry in found] == [
        [[1, 2, 5, 2, 5, 5]],
        {"counts": "52203", "size": [32, 48]},
    ]
    assert [entry["bbox"] for entry in found] == [[1, 2, 4, 3]] * 2
    assert [entry["iscrowd"] for entry in found] == [0, 1]
    assert {entry["category_id"] for entry in found} == {1}
    boxes = [entry for entry in content["annotations"] if entry["segmentation"] == {}]
    assert boxes
    assert all(entry["area"] == entry["bbox"][2] * entry["bbox"][3] for entry in boxes)


def test_segmentation_needs_a_format_with_shapes(prepare) -> None:
    image = replace(bundled_image("sample"), object_type=3)

    with pytest.raises(InvalidInputError) as caught:
        prepare(image=image)
    assert "has no shapes for segmentation" in str(caught.value)
    assert caught.value.hint == "Set `export_format: seg-coco:raw`"

    job = prepare(image=image, config={"export_format": "coco:raw"})
    assert yaml.safe_load((job.inputs / "config.yaml").read_text())["object_type"] == 3


def test_image_of_protocol_0_gets_what_ymir_1_1_gave_it(
    prepare, prepare_candidates, model: ModelFiles
) -> None:
    old = replace(bundled_image("sample"), protocol="0.0.0")

    job = prepare(image=old, model=model, op_id=op_id("old"))

    path = job.inputs / "annotations" / sha1_name(image_bytes(1), "txt")
    assert sorted(path.read_text().splitlines()) == ["0, 20, 8, 25, 14", "1, 4, 5, 13, 16"]
    config = yaml.safe_load((job.inputs / "config.yaml").read_text())
    assert config["pretrained_model_params"] == ["/in/models/model.json"]
    assert (job.inputs / "models/model.json").is_file()
    assert yaml.safe_load((job.inputs / "env.yaml").read_text())["protocol_version"] == "0.0.0"
    mined = prepare_candidates(image=old, mine=True, op_id=op_id("old mining"))
    config = yaml.safe_load((mined.inputs / "config.yaml").read_text())
    assert config["model_params_path"] == ["/in/models/model.json"]


def test_mining_alone_asks_for_no_predictions(prepare_candidates) -> None:
    job = prepare_candidates(mine=True, predict=False)

    environment = yaml.safe_load((job.inputs / "env.yaml").read_text())
    config = yaml.safe_load((job.inputs / "config.yaml").read_text())
    assert (environment["run_mining"], environment["run_infer"]) == (True, False)
    assert (config["run_mining"], config["run_infer"]) == (True, False)
