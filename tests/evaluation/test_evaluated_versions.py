"""Evaluating versions: bound to commits, marks kept, slices, and models compared."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from evaluation_data import MODEL, asset_id, assets, commit, random_sides, rows

from mir_ops.cli.main import main
from mir_ops.cli.repository import find_repository
from mir_ops.console.images.gallery import score_layer
from mir_ops.errors import InvalidInputError, MirError, NotFoundError
from mir_ops.evaluation.comparison import compare
from mir_ops.evaluation.frozen import freeze, frozen_sets, refuse_frozen
from mir_ops.evaluation.marks import tagged
from mir_ops.evaluation.materials import find_layer, on_the_same_images, read_material
from mir_ops.evaluation.versions import Settings, evaluate_material
from mir_ops.store import Store

LAYER = f"predictions:{MODEL}"
ONE, TWO, FAR = (0.0, 0.0, 10.0, 10.0), (20.0, 20.0, 10.0, 10.0), (70.0, 70.0, 10.0, 10.0)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A repository's store, with classes cat and dog."""
    (tmp_path / "repo").mkdir()
    monkeypatch.chdir(tmp_path / "repo")
    assert main(["init"]) == 0
    assert main(["classes", "add", "cat", "dog"]) == 0
    return find_repository(tmp_path / "repo").store


def small(store: Store, branch: str = "street") -> None:
    """Two cats of which one is found; a dog taken for a cat; a prediction of nothing."""
    truth = rows(
        [("a", 0, ONE), ("a", 0, TWO), ("b", 1, ONE), ("b", 0, FAR)],
        iscrowd=[False, False, False, True],
    )
    found = rows(
        [("a", 0, ONE), ("a", 0, FAR), ("b", 0, ONE), ("b", 0, FAR)],
        confidence=[0.9, 0.8, 0.7, 0.6],
        tags=[[("night", "yes")], None, None, None],
    )  # fmt: skip
    images = assets(["a", "b"], split=["val", "test"], attributes=[[("sky", "grey")], None])
    commit(store, branch, {"ground_truth": truth, LAYER: found}, images, model=MODEL, stage="best")


def say(capsys: pytest.CaptureFixture[str], *words: str) -> dict:  # type: ignore[type-arg]
    capsys.readouterr()
    code = main([*words, "--json"])
    said = capsys.readouterr()
    assert code == 0, said.err
    return dict(json.loads(said.out))


def fails(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(list(words)) == 1
    return capsys.readouterr().err


def test_a_report_names_commits_model_and_thresholds(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    small(store)
    tip = store.read("street").id

    report = say(capsys, "evaluate", "street", "--confidence", "0.65")

    assert report["origin"] == {
        "ground_truth": tip,
        "predictions": tip,
        "layer": LAYER,
        "model": MODEL,
        "stage": "best",
        "split": None,
        "classes": ["cat", "dog"],
        "images": 2,
        "not_labelled": 0,
        "not_predicted": 0,
    }
    assert (report["iou"], report["confidence"]) == (0.5, 0.65)
    assert report["marks"] == {"tp": 1, "fp": 2, "fn": 2, "ignored": 1}
    assert report["mistakes"]["counts"] == {
        "classification": 1, "localisation": 0, "both": 0, "duplicate": 0, "background": 1,
        "missed": 1,
    }  # fmt: skip
    assert report["confusion"] == {
        "classes": ["cat", "dog", "background"],
        "counts": [[1, 0, 1], [1, 0, 0], [1, 0, 0]],
        "iou": 0.5,
        "confidence": 0.65,
    }
    assert report["metrics"]["per_class"]["cat"]["ap50"] == pytest.approx(51 / 101)
    assert report["thresholds"]["per_class"]["cat"]["best_f1"] == {
        "confidence": pytest.approx(0.9), "precision": 1.0, "recall": 0.5,
        "f1": pytest.approx(2 / 3),
    }  # fmt: skip


def test_ap_is_there_at_every_iou_and_of_every_class(store: Store) -> None:
    two_models(store, worse=0.3)

    report = evaluate_material(read_material(store.read("both"), layer="bbbb")).report

    per_iou, metrics = report["per_iou"], report["metrics"]
    assert list(per_iou) == [f"{0.5 + n * 0.05:.2f}" for n in range(10)]
    assert per_iou["0.50"]["ap"] == pytest.approx(metrics["map50"])
    assert per_iou["0.75"]["per_class"]["cat"] == metrics["per_class"]["cat"]["ap75"]
    assert np.mean([each["ap"] for each in per_iou.values()]) == pytest.approx(metrics["map50_95"])


def test_a_model_that_found_nothing_scores_zero(store: Store) -> None:
    layers = {"ground_truth": rows([("a", 0, ONE)]), LAYER: rows([], confidence=[])}
    commit(store, "blind", layers, assets(["a", "b"]))

    report = evaluate_material(read_material(store.read("blind"))).report

    assert report["metrics"]["map50"] == report["metrics"]["coco"]["AR_100"] == 0.0
    assert report["marks"] == {"tp": 0, "fp": 0, "fn": 1, "ignored": 0}
    assert report["thresholds"]["all"]["best_f1"] is None
    assert report["mistakes"]["gains"]["missed"] == 0.0
    assert json.loads(json.dumps(report, allow_nan=False)) == json.loads(json.dumps(report))


def test_without_a_confidence_the_best_f1_decides(store: Store) -> None:
    small(store)

    report = evaluate_material(read_material(store.read("street"))).report

    assert report["confidence"] == pytest.approx(0.9)
    assert report["marks"] == {"tp": 1, "fp": 0, "fn": 2, "ignored": 3}


def test_marks_are_kept_with_the_version_and_the_ground_truth_stays(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    small(store)
    before = store.read("street")

    done = say(capsys, "evaluate", "street", "--confidence", "0", "--to", "street-marks@first")
    again = say(capsys, "evaluate", "street", "--confidence", "0", "--to", "street-marks@first")

    assert (done["commit"], done["again"]) == (again["commit"], False)
    assert again["again"] is True
    version = store.read("street-marks@first")
    assert version.layer("ground_truth").equals(before.layer("ground_truth"))
    found = version.layer(LAYER)
    tags = {
        (row["asset_id"], row["annotation_id"]): dict(row["tags"])
        for row in found.select(["asset_id", "annotation_id", "tags"]).to_pylist()
    }
    a, b = asset_id("a"), asset_id("b")
    assert tags == {
        (a, 0): {"night": "yes", "eval_mark": "tp", "eval_match": "0", "eval_iou": "1"},
        (a, 1): {"eval_mark": "fp", "eval_mistake": "background", "eval_there": "none"},
        (b, 2): {"eval_mark": "fp", "eval_mistake": "classification", "eval_there": "1"},
        (b, 3): {"eval_mark": "ignored"},
    }
    scores = version.layer(f"scores:evaluation:{MODEL}").sort_by([("score", "descending")])
    assert scores["score"].to_pylist() == [2.0, 2.0]
    components = {
        row["asset_id"]: dict(row["components"])
        for row in scores.select(["asset_id", "components"]).to_pylist()
    }
    assert components == {
        a: {"tp": 1.0, "fp": 1.0, "fn": 1.0, "missed/1": 1.0},
        b: {"tp": 0.0, "fp": 1.0, "fn": 1.0, "missed/2": 1.0},
    }
    assert score_layer(version) is None  # nothing was picked
    operation = version.commit.operation
    assert (operation.kind, operation.inputs) == ("evaluate", (before.id,))
    assert operation.parameters["coco"] == done["metrics"]["coco"]
    assert operation.parameters["confidence"] == 0.0


def test_marking_again_replaces_the_marks(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    small(store)
    say(capsys, "evaluate", "street", "--confidence", "0", "--to", "marks")

    say(capsys, "evaluate", "marks", "--confidence", "0.85", "--to", "marks")

    tags = store.read("marks").layer(LAYER)["tags"].to_pylist()
    assert sorted(dict(each)["eval_mark"] for each in tags) == ["ignored"] * 3 + ["tp"]


def test_slices_are_by_split_source_and_attribute(store: Store) -> None:
    small(store)
    material = read_material(store.read("street"))

    report = evaluate_material(material, Settings(by=("split", "source", "attribute:sky"))).report

    sliced = {(each["by"], each["value"]): each for each in report["slices"]}
    assert set(sliced) == {
        ("split", "test"), ("split", "val"), ("source", "day"),
        ("attribute:sky", "grey"), ("attribute:sky", "none"),
    }  # fmt: skip
    assert sliced["split", "val"]["boxes"] == 2
    assert sliced["split", "val"]["coco"]["AP50"] == pytest.approx(51 / 101)
    assert sliced["attribute:sky", "none"]["coco"]["AP50"] == 0.0
    assert sliced["source", "day"]["coco"] == report["metrics"]["coco"]
    assert sliced["split", "test"]["coco"]["AP_large"] is None


@pytest.mark.parametrize("wrong", ["weather", "attribute:", "size"])
def test_slices_by_nothing_known_are_refused(store: Store, wrong: str) -> None:
    small(store)
    with pytest.raises(InvalidInputError) as caught:
        evaluate_material(read_material(store.read("street")), Settings(by=(wrong,)))
    assert caught.value.code == "bad-slice"


def test_images_that_one_side_never_saw_are_left_out_and_told(store: Store) -> None:
    images = assets(["a", "b", "c"])
    commit(store, "street", {}, images)
    with store.edit("street", op_id="more", operation=_import(), message="Layers") as edit:
        first, last = [asset_id("a"), asset_id("b")], [asset_id("b"), asset_id("c")]
        edit.put_layer("ground_truth", rows([("a", 0, ONE), ("b", 0, ONE)]), assets=first)
        edit.put_layer(LAYER, rows([("b", 0, ONE)], confidence=[0.5]), assets=last)

    material = read_material(store.read("street"))

    assert (material.origin.images, material.origin.not_labelled) == (1, 1)
    assert material.origin.not_predicted == 1
    assert evaluate_material(material).metrics.map50 == pytest.approx(1.0)


def test_a_split_and_classes_can_be_chosen(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    small(store)

    report = say(capsys, "evaluate", "street", "--split", "test", "--classes", "dog")

    assert report["origin"]["split"] == "test"
    assert report["origin"]["classes"] == ["dog"]
    assert report["metrics"]["map50"] == 0.0
    assert report["metrics"]["left_out"] == {"ground_truth": 1, "predictions": 2}


def test_predictions_and_ground_truth_may_be_of_two_versions(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    small(store)
    images = assets(["a", "b"])
    better = rows([("a", 1, ONE)])
    commit(store, "relabelled", {"ground_truth": better}, images)

    report = say(capsys, "evaluate", "street", "--gt-rev", "relabelled", "--voc")

    assert report["origin"]["ground_truth"] == store.read("relabelled").id
    assert report["origin"]["predictions"] == store.read("street").id
    assert report["metrics"]["boxes"] == 1
    assert report["voc"]["mean"]["fn"] == 1


def test_what_cannot_be_evaluated_says_why(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    small(store)
    commit(store, "bare", {}, assets(["z"]))
    commit(
        store, "empty", {"ground_truth": rows([]), LAYER: rows([], confidence=[])}, assets(["a"])
    )

    assert "has not one layer of predictions: none" in fails(capsys, "evaluate", "bare")
    assert "called `other`" in fails(capsys, "evaluate", "street", "--layer", "other")
    assert "no class `horse`" in fails(capsys, "evaluate", "street", "--classes", "horse")
    assert "no ground truth to evaluate" in fails(capsys, "evaluate", "empty")
    assert "No image is labelled" in fails(capsys, "evaluate", "street", "--split", "train")
    assert "IoU thresholds are 0.0" in fails(capsys, "evaluate", "street", "--iou", "0")
    assert "no interval" in fails(capsys, "evaluate", "street", "--iou-thrs", "0.9:0.5:0.1")
    assert not store.branch("street-marks").seq


def test_a_layer_is_found_by_its_name_its_model_or_the_start_of_it(store: Store) -> None:
    images = assets(["a"])
    found = rows([("a", 0, ONE)], confidence=[0.5])
    layers = {"predictions:abc1": found, "predictions:abc2": found}
    version = store.read(commit(store, "two", layers, images).id)

    assert find_layer(version, "predictions:abc1") == "predictions:abc1"
    assert find_layer(version, "abc2") == "predictions:abc2"
    for wrong in (None, "abc"):
        with pytest.raises(NotFoundError) as caught:
            find_layer(version, wrong)
        assert caught.value.code == "no-such-layer"


def _import():  # type: ignore[no-untyped-def]
    from mir_ops.store import Operation

    return Operation(kind="import")


def test_numbers_that_are_none_are_refused_with_the_image(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    truth, nan = rows([("a", 0, ONE)]), float("nan")
    found = rows([("a", 0, ONE), ("a", 0, TWO)], confidence=[0.5, nan])
    wide = rows([("a", 0, (0.0, 0.0, nan, 1.0))])
    commit(store, "nan", {"ground_truth": truth, LAYER: found}, assets(["a"]))
    commit(store, "wide", {"ground_truth": wide, LAYER: found.slice(0, 1)}, assets(["a"]))

    said = fails(capsys, "evaluate", "nan", "--to", "marks")
    assert "A prediction's confidence is not a finite number: 1 in all" in said
    assert asset_id("a").hex()[:12] in said
    assert "box whose `w` is not a finite number" in fails(capsys, "evaluate", "wide")
    assert not store.branch("marks").seq


def test_ymirs_own_command_line_is_understood(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    small(store)
    store.create_tag("street@inferred", store.read("street").id)

    done = say(
        capsys, "evaluate", "-w", "/tmp/unused", "--src-revs", "street@inferred",
        "--gt-rev", "street@inferred", "--dst-rev", "evaluated@1", "--conf-thr", "0.3",
        "--iou-thrs", "0.5:1.0:0.05", "--need-pr-curve",
    )  # fmt: skip

    assert done["tag"] == "evaluated@1"
    assert list(done["voc"]["per_iou"]) == [f"{0.5 + n * 0.05:.2f}" for n in range(10)]
    assert done["voc"]["confidence"] == 0.3
    assert len(done["curves"]["per_class"]["cat"]["precision"]) == 101


def test_hits_and_wrong_ones_are_counted_at_a_hundred_confidences(store: Store) -> None:
    two_models(store, worse=0.3)
    material = read_material(store.read("both"), layer="bbbb")

    counts = evaluate_material(material, Settings(counts=True)).report["counts"]

    for step in (0, 37, 90, 100):
        at = evaluate_material(material, Settings(confidence=counts["confidence"][step])).report
        for side in ("tp", "fp"):
            told = sum(each[side][step] for each in counts["per_class"].values())
            assert told == at["marks"][side]
    boxes = sum(each["boxes"] for each in counts["per_class"].values())
    assert boxes == at["metrics"]["boxes"]


def test_each_cell_of_the_confusion_can_be_found_by_marks(store: Store) -> None:
    two_models(store, worse=0.3)
    material = read_material(store.read("both"), layer="bbbb")

    evaluation = evaluate_material(material, Settings(confidence=0.2))

    marked = tagged(material.predictions, evaluation.marks, material.ground_truth)
    cells: Counter[tuple[str, int]] = Counter()
    for row in marked.select(["class_id", "tags"]).to_pylist():
        tags = dict(row["tags"])
        if tags["eval_mark"] != "ignored":
            cells[tags.get("eval_there", str(row["class_id"])), row["class_id"]] += 1
    matrix = evaluation.report["confusion"]["counts"]
    for there, row in zip(("0", "1", "none"), matrix, strict=True):
        assert [cells[there, label] for label in (0, 1)] == row[:2]
    assert matrix[0][1] + matrix[1][0] > 0


# Comparing two models.


def two_models(store: Store, worse: float) -> None:
    """Model b loses this share of model a's predictions, and has them otherwise."""
    names, truth, found = random_sides(3, images=60)
    kept = np.random.default_rng(1).random(found.num_rows) >= worse
    layers = {
        "ground_truth": truth,
        "predictions:aaaa": found,
        "predictions:bbbb": found.filter(kept.tolist()),
    }
    commit(store, "both", layers, assets(names))


def test_a_clear_difference_has_an_interval_without_zero(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    two_models(store, worse=0.6)

    found = say(capsys, "compare", "both", "both", "--layer", "aaaa", "--layer-b", "bbbb")

    assert found["verdict"] == "worse"
    assert found["low"] <= found["difference"] <= found["high"] < 0
    assert found["difference"] == pytest.approx(found["b"] - found["a"])
    assert found["a_origin"]["layer"] == "predictions:aaaa"
    assert found["resamples"] == 1000


def test_a_model_against_itself_cannot_be_told_apart(store: Store) -> None:
    two_models(store, worse=0.0)
    version = store.read("both")

    a, b = (read_material(version, layer=name) for name in ("aaaa", "bbbb"))
    found = compare(a.sides, b.sides, metric="map50_95", resamples=50)

    assert (found.difference, found.low, found.high) == (0.0, 0.0, 0.0)
    assert found.verdict == "cannot tell"


@pytest.mark.parametrize("metric", ["map50", "map50_95"])
def test_the_points_compared_are_the_metrics_themselves(store: Store, metric: str) -> None:
    two_models(store, worse=0.3)
    material = read_material(store.read("both"), layer="bbbb")

    found = compare(material.sides, material.sides, metric=metric, resamples=1)

    assert found.a == pytest.approx(getattr(evaluate_material(material).metrics, metric), abs=1e-12)


def test_a_resample_is_the_metric_of_the_images_drawn(store: Store) -> None:
    """Weights are repetition: an image drawn twice is there twice, with its boxes."""
    from mir_ops.evaluation.comparison import Weighted, match_for

    two_models(store, worse=0.3)
    material = read_material(store.read("both"), layer="bbbb")
    names = [f"image{n:03}" for n in range(60)]
    weights = np.random.default_rng(0).integers(0, 3, 60)
    ids = material.sides.asset_ids.to_pylist()
    drawn = [n for n, count in enumerate(weights.tolist()) for _ in range(count)]
    copies = {
        name: [
            (
                f"{place}/{ids[n].hex()}",
                row["class_id"],
                (row["x"], row["y"], row["w"], row["h"]),
                row,
            )
            for place, n in enumerate(drawn)
            for row in table.filter(pc.equal(table["asset_id"], ids[n])).to_pylist()
        ]
        for name, table in (
            ("truth", material.ground_truth), ("found", material.predictions)
        )
    }  # fmt: skip
    images = assets([f"{place}/{ids[n].hex()}" for place, n in enumerate(drawn)])
    layers = {
        "ground_truth": rows([row[:3] for row in copies["truth"]]),
        LAYER: rows(
            [row[:3] for row in copies["found"]],
            confidence=[row[3]["confidence"] for row in copies["found"]],
        ),
    }
    version = store.read(commit(store, "drawn", layers, images).id)

    ours = Weighted.of(match_for(material.sides, "map50")).map(weights)

    expected = evaluate_material(read_material(version)).metrics.map50
    assert ours == pytest.approx(expected, abs=1e-12)
    assert len(names) == len(ids)


def test_models_on_different_images_are_compared_on_the_common_ones(store: Store) -> None:
    small(store)
    images = assets(["b"])
    found = rows([("b", 1, ONE)], confidence=[0.9])
    commit(store, "other", {"ground_truth": rows([("b", 1, ONE)]), LAYER: found}, images)

    truth = store.read("street")
    a = read_material(truth, truth)
    b = read_material(truth, store.read("other"))
    a, b = on_the_same_images(a, b)

    assert (a.origin.images, b.origin.images) == (1, 1)
    assert compare(a.sides, b.sides, resamples=5).difference == pytest.approx(1.0)


def test_comparing_what_cannot_be_compared_is_refused(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    two_models(store, worse=0.1)
    small(store)

    assert "same predictions" in fails(capsys, "compare", "both", "both", "--layer", "aaaa")
    assert "no interval" in fails(
        capsys, "compare", "both", "both", "--layer", "aaaa", "--layer-b", "bbbb",
        "--resamples", "0",
    )  # fmt: skip
    a = read_material(store.read("both"), layer="aaaa")
    with pytest.raises(InvalidInputError) as caught:
        on_the_same_images(a, read_material(store.read("street")))
    assert caught.value.code == "nothing-to-evaluate"
    with pytest.raises(InvalidInputError) as caught:
        compare(a.sides, read_material(store.read("street")).sides)
    assert caught.value.code == "different-ground-truth"
    with pytest.raises(InvalidInputError):
        compare(a.sides, a.sides, metric="accuracy")


# Frozen test sets.


def test_no_training_reads_a_frozen_test_set(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    small(store)
    store.read("street")
    commit(store, "training", {}, assets(["b", "c"], split=["train", "train"]))
    commit(store, "untouched", {}, assets(["c"], split=["train"]))
    say(capsys, "tag", "golden", "street", "--frozen")

    assert frozen_sets(store) == {"golden": store.read("street").id}
    refuse_frozen(store, store.read("untouched"))
    with pytest.raises(MirError) as caught:
        refuse_frozen(store, store.read("training"))
    assert caught.value.code == "frozen-test-set"
    assert "1 images" in str(caught.value)
    assert asset_id("b").hex()[:12] in str(caught.value)

    hint = str(caught.value.hint)
    words = hint.partition("`mir ")[2].rstrip("`").replace("REV", "training").split()
    say(capsys, *[word.replace("BRANCH", "without") for word in words])
    refuse_frozen(store, store.read("without"))
    assert store.read("without").stats.assets == 1


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_frozen_image_is_refused_in_every_split_that_a_training_gets(
    store: Store, split: str
) -> None:
    small(store)
    freeze(store, "golden", store.read("street").commit)
    commit(store, "training", {}, assets(["b"], split=[split]))
    with pytest.raises(InvalidInputError):
        refuse_frozen(store, store.read("training"))


def test_a_frozen_image_in_no_split_is_not_read_by_a_training(store: Store) -> None:
    small(store)
    freeze(store, "golden", store.read("street").commit)
    commit(store, "training", {}, assets(["b"], split=[None]))

    refuse_frozen(store, store.read("training"))
