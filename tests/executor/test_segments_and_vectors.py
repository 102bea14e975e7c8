"""What images that segment write, and embeddings: taken into columns, or refused with the rule."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from executor_jobs import HEIGHT, WIDTH, op_id

from mir_ops.errors import InvalidInputError
from mir_ops.executor import (
    Job,
    bundled_image,
    collect_inference,
    collect_training,
    run_job,
)

RING = [2, 2, 10, 2, 10, 6, 2, 6]
IDS = {"dog": 1, "cat": 0}


@pytest.fixture
def job(prepare_candidates) -> Job:
    image = replace(bundled_image("sample"), object_type=4)
    return prepare_candidates(image=image, op_id=op_id("segments"))


def names_of(job: Job) -> list[str]:
    return pq.read_table(job.candidates_path)["name"].to_pylist()


def coco(job: Job) -> dict[str, Any]:
    names = names_of(job)
    size = pq.read_table(job.candidates_path).to_pylist()[1]
    pixels = size["width"] * size["height"]
    found = {"category_id": 7, "iscrowd": 0, "confidence": 0.75}
    mask = {"counts": [5, 10, pixels - 15], "size": [size["height"], size["width"]]}
    return {
        "images": [{"id": n, "file_name": name} for n, name in enumerate(names)],
        "categories": [{"id": 7, "name": "cat"}, {"id": 8, "name": "wolf"}],
        "annotations": [
            {"id": 0, "image_id": 0, "bbox": [2, 2, 8, 4], "segmentation": [RING], **found},
            {"id": 1, "image_id": 1, "segmentation": mask, **found, "confidence": 0.5},
            {"id": 2, "image_id": 1, "bbox": [1, 1, 3, 3], "segmentation": {}, **found},
            {"id": 3, "image_id": 1, "bbox": [1, 1, 3, 3], **found, "category_id": 8},
        ],
    }


def collect(job: Job, content: object) -> Any:
    (job.outputs / "infer-result.json").write_text(json.dumps(content))
    return collect_inference(job, IDS)


def test_rings_and_masks_become_columns(job: Job) -> None:
    taken = collect(job, coco(job))

    rows = taken.predictions.to_pylist()
    assert [row["kind"] for row in rows] == ["polygon", "box", "mask"]
    ring, box, mask = rows
    assert (ring["polygon"], ring["area"], ring["confidence"]) == ([RING], 32.0, 0.75)
    assert (box["area"], box["polygon"], box["rle"]) == (9.0, None, None)
    assert (mask["area"], mask["x"], mask["y"], mask["w"], mask["h"]) == (10.0, 0, 5, 1, 10)
    assert mask["rle"] is not None
    assert taken.report.unknown_classes == {"wolf": 1}
    assert len(taken.assets) == len(names_of(job))


@pytest.mark.parametrize("object_type", [3, 4])
@pytest.mark.parametrize("runner", ["process", pytest.param("docker", marks=pytest.mark.docker)])
def test_an_image_that_segments_trains_and_infers(
    request: pytest.FixtureRequest, prepare, prepare_candidates, runner: str, object_type: int
) -> None:
    if runner == "docker":
        request.getfixturevalue("sample_image")
    image = replace(bundled_image("sample"), object_type=object_type)
    name = {"image": image, "op_id": op_id(f"segment {runner} {object_type}")}
    training = prepare(**name, config={"export_format": "coco:raw"})
    run_job(training, runner=runner)
    trained = collect_training(training)
    job = prepare_candidates(**{**name, "op_id": op_id(name["op_id"])}, model=trained.model_files())
    run_job(job, runner=runner)

    found = collect_inference(job, IDS)

    assert trained.object_type == object_type
    assert trained.metrics == {{3: "mIoU", 4: "maskAP"}[object_type]: 0.6}
    assert found.predictions.num_rows == 2 * len(names_of(job))
    assert set(found.predictions["kind"].to_pylist()) == {"polygon"}
    assert found.report.unknown_classes == {}


Change = Callable[[dict[str, Any]], None]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda c: c.pop("images"), "has no list `images`"),
        (lambda c: c["images"].append({"id": 0, "file_name": "x"}), "the id 0 is there twice"),
        (lambda c: c["images"].append({"id": 99, "file_name": "x.jpg"}), "was not a candidate"),
        (lambda c: c["annotations"][0].update(image_id=99), "annotation 0: `image_id` is `99`"),
        (lambda c: c["annotations"][0].update(category_id=[]), "annotation 0: `category_id`"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2]), "`bbox` is not x, y, w, h"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, -3, 4]), "`w` is -3"),
        (lambda c: c["annotations"][0].update(confidence=2), "`score` is 2"),
        (lambda c: c["annotations"][0].update(segmentation=[[1, 2]]), "at least three points"),
        (lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3, 4, 5, 1e12]]), "beyond"),
        (lambda c: c["annotations"][1]["segmentation"].update(size=[1, 1]), "size of the mask"),
        (lambda c: c["annotations"][1]["segmentation"].update(counts=[1, 2]), "do not cover"),
        (lambda c: c["annotations"][1]["segmentation"].update(counts="~~~"), "do not cover"),
        (lambda c: c["annotations"][1]["segmentation"].update(counts=[-1]), "no run lengths"),
    ],
)
def test_broken_segments_are_refused(job: Job, change: Change, rule: str) -> None:
    content = copy.deepcopy(coco(job))
    change(content)

    with pytest.raises(InvalidInputError) as caught:
        collect(job, content)
    assert rule in str(caught.value)


def write_vectors(job: Job, names: list[str], vectors: list[Any]) -> None:
    table = pa.table({"asset": names, "vector": vectors})
    pq.write_table(table, job.outputs / "embeddings.parquet")


def test_embeddings_are_taken_by_asset(prepare_candidates) -> None:
    job = prepare_candidates(op_id=op_id("vectors"))
    names = names_of(job)
    content = {"detection": {name: {"boxes": []} for name in names}}
    assert collect(job, content).embeddings is None

    write_vectors(job, names[::-1], [[float(n), 1.0] for n in range(len(names))])

    found = collect(job, content).embeddings
    assert found.column_names == ["asset_id", "vector"]
    assert found["vector"].to_pylist()[0] == [len(names) - 1.0, 1.0]


@pytest.mark.parametrize(
    ("names", "vectors", "rule"),
    [
        (["nobody.jpg"], [[1.0]], "`nobody.jpg` was not a candidate"),
        ([0, 0], [[1.0], [2.0]], "names a candidate twice"),
        ([0, 1], [[1.0], [2.0, 3.0]], "has vectors of different lengths, or none"),
        ([0], [[float("nan")]], "has a number that is not finite"),
        ([0] * 99, [[1.0]] * 99, "has 99 rows"),
        ([0], [["text"]], "cannot be read"),
    ],
)
def test_broken_embeddings_are_refused(
    prepare_candidates, names: list[Any], vectors: list[Any], rule: str
) -> None:
    job = prepare_candidates(op_id=op_id("broken vectors"))
    known = names_of(job)
    write_vectors(job, [known[n] if isinstance(n, int) else n for n in names], vectors)

    with pytest.raises(InvalidInputError) as caught:
        collect(job, {"detection": {name: {"boxes": []} for name in known}})
    assert rule in str(caught.value)


def test_bytes_that_are_no_parquet_are_refused(prepare_candidates, tmp_path: Path) -> None:
    job = prepare_candidates(op_id=op_id("no parquet"))
    (job.outputs / "embeddings.parquet").write_bytes(b"PAR1" + bytes(100))

    with pytest.raises(InvalidInputError, match="cannot be read"):
        collect(job, {"detection": {name: {"boxes": []} for name in names_of(job)}})


def test_sizes_of_the_candidates_are_known(job: Job) -> None:
    sizes = {
        (row["width"], row["height"]) for row in pq.read_table(job.candidates_path).to_pylist()
    }
    assert sizes <= {(WIDTH, HEIGHT), (HEIGHT, WIDTH)}
