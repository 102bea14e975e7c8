"""Histograms, balance and suggestions, as numbers and as pictures."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pyarrow as pa
import pytest
from dataset_rows import Row, put
from dataset_sources import OPERATIONS

from mir_ops.cli.main import main
from mir_ops.dataset import analyse
from mir_ops.dataset.histograms import Histogram
from mir_ops.dataset.pictures import bars, write_pictures
from mir_ops.store import Operation, Store, Version

IMAGES = [
    Row(name="a", boxes=["cat"] * 12, byte_size=700_000, size=(1000, 500)),
    Row(name="b", boxes=["cat", "dog"], predicted=["cat"], attributes={"weather": "rain"}),
    Row(name="c", boxes=[], attributes={"weather": "dry", "image_quality": "0.35"}),
    Row(name="d", boxes=None, attributes={"image_quality": "bad"}),
]


def found(histograms: tuple[Histogram, ...], name: str) -> dict[str, int]:
    (one,) = [histogram for histogram in histograms if histogram.name == name]
    return {label: n for label, n in zip(one.labels, one.counts, strict=True) if n}


def test_every_histogram_counts_what_it_says(store: Store) -> None:
    analysis = analyse(put(store, "all", IMAGES))

    images = analysis.histograms
    assert found(images, "file size") == {"0–0.5": 3, "0.5–1": 1}
    assert found(images, "image area") == {"0–100,000": 3, "500,000–1,000,000": 1}
    assert found(images, "height / width") == {"0.5–0.6": 1, "0.7–0.8": 3}
    assert found(images, "image quality") == {"0.3–0.4": 1}
    truth = analysis.layers[0].histograms
    assert found(truth, "annotations of an image") == {"0": 1, "2": 1, "10–14": 1}
    assert found(truth, "classes of an image") == {"0": 1, "1": 1, "2": 1}
    assert found(truth, "crowdedness") == {"1–3": 1, "10+": 1}
    assert found(truth, "box area") == {"50–500": 14}
    assert found(truth, "box area / image area") == {"0–0.1": 14}


def test_layers_are_counted_by_class(store: Store) -> None:
    truth, predicted = analyse(put(store, "all", IMAGES)).layers

    assert (truth.boxes, truth.positive, truth.negative) == (14, 2, 1)
    assert [(c.name, c.boxes, c.images) for c in truth.classes] == [
        ("cat", 13, 2),
        ("dog", 1, 1),
        ("bird", 0, 0),
    ]
    assert (predicted.name, predicted.boxes) == ("predictions:m", 1)


def test_attributes_are_counted_by_value(store: Store) -> None:
    attributes = analyse(put(store, "all", IMAGES)).attributes

    assert attributes["weather"] == {"dry": 1, "rain": 1}


def test_suggestions_name_what_is_out_of_balance(store: Store) -> None:
    many = [Row(name=f"{n}", boxes=["cat"] * 9 + ["dog"] * (n % 12 == 0)) for n in range(60)]

    said = [one.text for one in analyse(put(store, "all", many)).suggestions]

    assert said == [
        "ground_truth: fewer than 500 annotations of dog, bird",
        "ground_truth: less than a tenth of the largest class: dog, bird",
        "ground_truth: less than a tenth of the images have 1–3 annotations, 10+ annotations",
    ]


def test_suggestions_see_what_spoils_a_training(store: Store) -> None:
    def picture(name: str, split: str | None, **facts: object) -> Row:
        return Row(name=name, boxes=["cat"], split=split, **facts)  # type: ignore[arg-type]

    pictures = [
        picture("a", "train", group="lane", hashed=7),
        picture("b", "val", group="lane", hashed=7),
        picture("c", "test", group="park"),
        Row(name="d", boxes=None),
    ]
    version = put(store, "all", pictures)
    boxes = version.layer("ground_truth")
    boxes = boxes.set_column(boxes.column_names.index("w"), "w", pa.array([2.0] * 3, pa.float32()))
    with store.edit(
        "all", op_id=OPERATIONS[3], operation=Operation(kind="relabel"), message="Tiny"
    ) as edit:
        edit.put_layer("ground_truth", boxes)

    said = {one.code: one.text for one in analyse(store.read("all")).suggestions}

    assert said["unlabelled-images"] == "not labelled: 1 of 4 images"
    assert said["images-without-split"] == "in no split, as others are: 1 of 4 images"
    assert said["groups-cross-splits"] == "groups of images in more than one split: 1"
    assert said["twins-cross-splits"] == "looks that images of more than one split share: 1"
    assert said["tiny-boxes"] == "ground_truth: fewer than 50 pixels: 3 of 3 boxes"


def test_masks_have_areas_of_their_own(store: Store) -> None:
    version = put(store, "all", [Row(name="a", boxes=["cat", "dog"])])
    table = version.layer("ground_truth")
    table = table.set_column(3, "kind", pa.array(["polygon", "box"]))
    table = table.set_column(11, "area", pa.array([60.0, 100.0], pa.float32()))
    with store.edit(
        "all", op_id=OPERATIONS[3], operation=Operation(kind="relabel"), message="Masks"
    ) as edit:
        edit.put_layer("ground_truth", table)

    (layer,) = analyse(store.read("all")).layers

    assert [one.mask_area for one in layer.classes] == [60, 0, 0]
    assert found(layer.histograms, "mask area") == {"50–500": 1}


def test_an_empty_version_has_nothing_to_show(store: Store, tmp_path: Path) -> None:
    with store.edit(
        "none", op_id=OPERATIONS[3], operation=Operation(kind="import"), message="Nothing"
    ):
        pass

    analysis = analyse(store.read("none"))

    assert (analysis.images, analysis.layers, analysis.suggestions) == (0, (), ())
    assert write_pictures(analysis, tmp_path) == []


def test_pictures_are_xml_whatever_names_hold(store: Store, tmp_path: Path) -> None:
    version: Version = put(store, "all", IMAGES)

    written = write_pictures(analyse(version), tmp_path / "charts")

    names = {path.name for path in written}
    assert {"images-file-size.svg", "ground-truth-classes.svg"} <= names
    assert len(names) == len(written)
    for path in written:
        assert ElementTree.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    hostile = bars("<b>&\x00", ['"><script>'], [3])
    assert "<script>" not in hostile
    ElementTree.fromstring(hostile)


def test_mir_stats_prints_tables_json_and_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    put(Store.open((tmp_path / ".mir/store").as_uri()), "all", IMAGES)
    capsys.readouterr()

    assert main(["stats", "all", "--pictures", "charts"]) == 0
    captured = capsys.readouterr()
    assert "ground_truth: 14 annotations on 2 images, 1 empty" in captured.out
    assert "suggestion: ground_truth: fewer than 500 annotations of cat" in captured.err
    assert len(list((tmp_path / "charts").glob("*.svg"))) > 5

    assert main(["--json", "stats", "all"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["layers"][0]["classes"][0]["boxes"] == 13
