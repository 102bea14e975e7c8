"""What the host refuses: each refusal names the file and the rule, and nothing is taken."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from executor_jobs import op_id

from mir_ops.executor import (
    ExecutorImage,
    ExecutorOutputError,
    Job,
    bundled_image,
    clear_outputs,
    collect_inference,
    collect_mining,
    collect_training,
)
from mir_ops.store import schema

CLASS_IDS = {"cat": 0, "dog": 1, "bird": 2}
GOOD = {"stage_name": "best", "files": ["a.bin"], "timestamp": 1, "mAP": 0.5}


def write_result(job: Job, content: Mapping[str, Any] | str) -> None:
    clear_outputs(job)
    (job.outputs / "models" / "best").mkdir()
    (job.outputs / "models" / "best" / "a.bin").write_bytes(b"weights")
    text = content if isinstance(content, str) else yaml.safe_dump(content)
    (job.outputs / "models" / "result.yaml").write_text(text)


def result(**changes: Any) -> dict[str, Any]:
    return {
        "best_stage_name": "best",
        "mAP": 0.5,
        "model_stages": {"best": {**GOOD, **changes}},
    }


def refusal(job: Job) -> str:
    with pytest.raises(ExecutorOutputError) as caught:
        collect_training(job)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (result(mAP=float("nan")), "stage `best`: `mAP` is `nan`, not a number from 0 to 1"),
        (result(mAP=1.5), "stage `best`: `mAP` is `1.5`, not a number from 0 to 1"),
        (result(mAP="0.5"), "stage `best`: `mAP` is `'0.5'`, not a number from 0 to 1"),
        (result(mAP=True), "stage `best`: `mAP` is `True`, not a number from 0 to 1"),
        (result(tp=-1), "stage `best`: `tp` is `-1`, not a count"),
        (result(files=["../secret"]), "stage `best`: file `'../secret'` leaves `/out/models`"),
        (result(files=["/etc/passwd"]), "stage `best`: file `'/etc/passwd'` leaves `/out/models`"),
        (result(files=["a\nb"]), "stage `best`: file `'a\\nb'` leaves `/out/models`"),
        (result(files=["none"]), "stage `best`: file `none` does not exist"),
        (result(files=["a.bin", "./a.bin"]), "stage `best` names a file twice"),
        (result(files=[]), "stage `best` names no files"),
        (result(files=[["a"]]), "stage `best`: `['a']` is not a file name"),
        (result(stage_name="x"), "stage `best` calls itself `'x'`"),
        ({"model_stages": {"best": {"files": ["a.bin"]}}}, "stage `best` has no metric"),
        ({"model_stages": {"../x": GOOD}}, "stage name `'../x'` is not an identifier"),
        ({"model_stages": {1: GOOD}}, "stage name `1` is not an identifier"),
        ({"model_stages": {"attachments": GOOD}}, "stage name `'attachments'` is not an"),
        ({"model_stages": []}, "names no stage in `model_stages`"),
        ({**result(), "best_stage_name": "x"}, "`best_stage_name` is `'x'`, which is not a stage"),
        ({**result(), "mAP": 7}, "`mAP` is `7`, not a number from 0 to 1"),
        ("- a list", "is not a mapping"),
        ("a: [", "is not YAML, line 1: expected the node content"),
        ("!!python/object/apply:os.system ['x']", "is not YAML, line 1: could not determine a"),
        ("a: &a {b: 1}\nc:\n  <<: *a\n", "is not YAML, line 3: merge keys are not allowed"),
        ("[" * 5000, "is not YAML"),
    ],
)
def test_training_result_is_refused(prepare, content: Any, rule: str) -> None:
    job = prepare()
    write_result(job, content)

    assert refusal(job).startswith(f"Output `models/result.yaml`: {rule}")
    assert not (job.folder / "model.tar.gz").exists()


def test_legacy_result_is_read(prepare) -> None:
    job = prepare()
    write_result(job, {"model": ["best/a.bin"], "map": 0.25})

    taken = collect_training(job)

    assert (taken.best_stage, taken.metrics) == ("default_best_stage", {"mAP": 0.25})
    assert [file.name for file in taken.stages[0].files] == ["best/a.bin"]


def test_counts_are_read_in_either_case(prepare) -> None:
    job = prepare()
    write_result(job, result(TP=3, fp=4))

    assert collect_training(job).metrics == {"mAP": 0.5, "tp": 3.0, "fp": 4.0}


def test_no_result_at_all_is_a_refusal(prepare) -> None:
    job = prepare()
    clear_outputs(job)
    assert refusal(job) == "Executor `sample` ended well but wrote no `models/result.yaml`"


def test_links_and_devices_are_refused(prepare, tmp_path: Path) -> None:
    job = prepare()
    (tmp_path / "secret").write_text("secret")
    for make, rule in (
        (lambda path: os.symlink(tmp_path / "secret", path), "Too many levels of symbolic links"),
        (lambda path: os.mkfifo(path), "not a regular file"),
    ):
        write_result(job, result())
        path = job.outputs / "models" / "best" / "a.bin"
        path.unlink()
        make(path)
        assert refusal(job) == f"Output `models/best/a.bin` cannot be taken: {rule}"


def test_linked_folder_is_refused(prepare, tmp_path: Path) -> None:
    job = prepare()
    write_result(job, result())
    (job.outputs / "models" / "best").rename(tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", job.outputs / "models" / "best")

    assert refusal(job) == "Output `models/best` is a symbolic link"


def test_linked_result_file_is_refused(prepare, tmp_path: Path) -> None:
    job = prepare()
    write_result(job, result())
    (job.outputs / "models" / "result.yaml").rename(tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", job.outputs / "models" / "result.yaml")

    assert refusal(job).startswith("Output `models/result.yaml` cannot be opened")


def test_large_result_file_is_refused(prepare) -> None:
    job = prepare()
    write_result(job, "#" * (1 << 20) + "\n")
    assert "the bound is 1048576" in refusal(job)


@pytest.fixture
def job(prepare_candidates) -> Job:
    return prepare_candidates(mine=True)


@pytest.fixture
def names(job: Job) -> list[str]:
    lines = (job.inputs / "candidate-index.tsv").read_text().splitlines()
    return [line.rpartition("/")[2] for line in lines]


def write_boxes(job: Job, names: list[str], first: Any, **changes: Any) -> None:
    entries: dict[str, Any] = {name: {"boxes": []} for name in names}
    entries[names[0]] = first
    scores = "".join(f"/in/assets/xx/{name}\t0.5\n" for name in names)
    (job.outputs / "result.tsv").write_text(scores)
    (job.outputs / "infer-result.json").write_text(json.dumps({"detection": entries, **changes}))


def box(**changes: Any) -> dict[str, Any]:
    return {
        "box": {"x": 1, "y": 2, "w": 10, "h": 20, **changes.pop("box", {})},
        "class_name": "dog",
        "score": 0.5,
        **changes,
    }


@pytest.mark.parametrize(
    ("first", "rule"),
    [
        ({"boxes": [box(score=float("nan"))]}, "is not JSON: `NaN` is not a number"),
        ({"boxes": [box(score=1.5)]}, "box 0: `score` is 1.5"),
        ({"boxes": [box(score="0.5")]}, "box 0: `score` is `'0.5'`"),
        ({"boxes": [box(box={"w": -1})]}, "box 0: `w` is -1"),
        ({"boxes": [box(box={"x": 1e300})]}, "box 0: `x` is 1e+300"),
        ({"boxes": [box(box={"x": 10**400})]}, "a `x` is beyond every bound"),
        ({"boxes": [box(box={"x": None})]}, "box 0: `x` is `None`"),
        ({"boxes": [box(box={"x": True})]}, "box 0: `x` is `True`"),
        ({"boxes": [{"class_name": "dog", "score": 0.5}]}, "box 0 has no `box`"),
        ({"boxes": [box(class_probs={"dog": 2})]}, "class_probs: `class_probs` is 2"),
        ({"boxes": [box(class_probs=[1])]}, "box 0: `class_probs` is not a mapping"),
        ({"boxes": ["x"]}, "`{name}` has no list of boxes"),
        ({"boxes": {}}, "`{name}` has no list of boxes"),
        ([], "`{name}` has no list of boxes"),
    ],
)
def test_boxes_are_refused(job: Job, names: list[str], first: Any, rule: str) -> None:
    write_boxes(job, names, first)
    with pytest.raises(ExecutorOutputError) as caught:
        collect_inference(job, CLASS_IDS)
    wanted = rule.replace("{name}", names[0])
    assert str(caught.value).replace(" of `sample`", "") == f"Output `infer-result.json`: {wanted}"


def test_boxes_are_taken_and_what_is_not_is_counted(job: Job, names: list[str]) -> None:
    found = [
        box(class_probs={"dog": 0.5, "cat": 0.25, "wolf": 0.1}),
        box(box={"x": -5, "y": 0}, score=0.9),
        box(box={"x": 1000}),
        box(class_name="wolf"),
        box(class_name="bird"),
        {"box": {"x": 1, "y": 1, "w": 1, "h": 1}, "class_name": "cat"},
    ]
    write_boxes(job, names, {"annotations": found})

    taken = collect_inference(job, CLASS_IDS)

    assert taken.predictions.schema == schema.PREDICTIONS
    rows = taken.predictions.to_pylist()
    assert [(row["annotation_id"], row["class_id"]) for row in rows] == [(0, 1), (1, 1)]
    assert [(row["x"], row["w"]) for row in rows] == [(0.0, 5.0), (1.0, 10.0)]
    assert rows[0]["confidence"] == pytest.approx(0.9)
    assert rows[0]["class_probs"] is None
    assert rows[1]["class_probs"] == [(0, 0.25), (1, 0.5)]
    assert len(taken.assets) == 13
    assert taken.report.to_dict() == {
        "images": 13,
        "boxes": 2,
        "clipped": 1,
        "outside": 1,
        "without_score": 1,
        "without_result": 0,
        "unknown_classes": {"bird": 1, "wolf": 1},
    }


def test_asset_that_was_no_candidate_is_refused(job: Job, names: list[str]) -> None:
    write_boxes(job, ["0" * 40 + ".jpg", *names], {"boxes": []})
    with pytest.raises(ExecutorOutputError, match=r"`0{40}.jpg` was not a candidate"):
        collect_inference(job, CLASS_IDS)


def test_missing_results_are_an_error_for_our_images(job: Job, names: list[str]) -> None:
    write_boxes(job, names[2:], {"boxes": []})
    with pytest.raises(ExecutorOutputError) as caught:
        collect_inference(job, CLASS_IDS)
    assert str(caught.value) == (
        f"Output `infer-result.json` of `sample`: misses 2 of 13 images, "
        f"first: {names[0]}, {names[1]}"
    )


def test_missing_results_are_reported_for_other_images(prepare_candidates) -> None:
    own = bundled_image("sample")
    templates = {"infer": own.template("infer"), "mine": own.template("mine")}
    image = ExecutorImage(name="other", image="other:1", templates=templates)
    job = prepare_candidates(image=image, op_id=op_id("other"))
    lines = (job.inputs / "candidate-index.tsv").read_text().splitlines()
    write_boxes(job, [line.rpartition("/")[2] for line in lines[1:]], {"boxes": []})

    taken = collect_inference(job, CLASS_IDS)

    assert len(taken.assets) == 12
    assert len(taken.report.without_result) == 1
    assert taken.report.lines()[-1].startswith("No result for 1 images, first: ")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ('{"detection": []}', "has no mapping `detection`"),
        ("[]", "has no mapping `detection`"),
        ("{", "is not JSON: Expecting property name"),
        ("[" * 100_000, "is not JSON"),
        ('{"detection": ' + "9" * 5000 + "}", "is not JSON: Exceeds the limit"),
    ],
)
def test_json_that_is_no_result_is_refused(job: Job, text: str, rule: str) -> None:
    (job.outputs / "infer-result.json").write_text(text)
    with pytest.raises(ExecutorOutputError) as caught:
        collect_inference(job, CLASS_IDS)
    assert str(caught.value).startswith(f"Output `infer-result.json` of `sample`: {rule}")


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("{0}\tnan", "line 1: `{0}` has no finite score"),
        ("{0}\tinf", "line 1: `{0}` has no finite score"),
        ("{0}", "line 1: `{0}` has no finite score"),
        ("{1}\t0.5", "line 2: `{1}` is there twice"),
        ("/in/assets/other.jpg\t1", "line 1: `/in/assets/other.jpg` was not a candidate"),
    ],
)
def test_mining_line_is_refused(job: Job, names: list[str], line: str, rule: str) -> None:
    lines = [line, *(f"{name}\t0.5" for name in names[1:])]
    text = "\n".join(lines).replace("{0}", names[0]).replace("{1}", names[1])
    (job.outputs / "result.tsv").write_text(text)
    with pytest.raises(ExecutorOutputError) as caught:
        collect_mining(job)
    message = str(caught.value).removeprefix("Output `result.tsv` of `sample`: ")
    wanted = rule.replace("{0}", names[0]).replace("{1}", names[1])
    assert message.replace("\t0.5", "").replace(" nan", "").replace(" inf", "")[:20] == wanted[:20]
    assert message.rpartition("`")[2] == wanted.rpartition("`")[2]


def test_mining_scores_are_sorted_here(job: Job, names: list[str]) -> None:
    lines = [f"/in/assets/{name[-6:-4]}/{name}\t{place % 3}" for place, name in enumerate(names)]
    (job.outputs / "result.tsv").write_text("\n".join(lines))

    table = collect_mining(job)

    assert table.schema == schema.SCORES
    pairs = list(zip(table["score"].to_pylist(), table["asset_id"].to_pylist(), strict=True))
    assert pairs == sorted(pairs, key=lambda pair: (-pair[0], pair[1]))
    assert len(pairs) == 13
