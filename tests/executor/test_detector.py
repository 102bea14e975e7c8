"""The reference detector, in miniature: a few iterations on a few small scenes."""

from __future__ import annotations

import importlib
import io
import json
import random
from pathlib import Path

import pytest
from executor_jobs import op_id, write_folder
from PIL import Image, ImageDraw

from mir_ops.dataset import import_dataset
from mir_ops.executor import (
    AssetCache,
    ExecutorFailedError,
    Job,
    Limits,
    ModelFiles,
    TrainingResult,
    bundled_folder,
    bundled_image,
    collect_inference,
    collect_training,
    prepare_inference,
    prepare_training,
    run_job,
)
from mir_ops.store import Store, Version

pytest.importorskip("torch")

CLASSES = ("disc", "square")
SETTINGS = {"iterations": 60, "batch_size": 8, "width": 8, "export_onnx": False}


def scene(seed: int, width: int, height: int) -> tuple[bytes, list[tuple[str, int, int, int, int]]]:
    """One bright shape on a dark background."""
    dice = random.Random(seed)
    image = Image.new("RGB", (width, height), (dice.randint(0, 60), dice.randint(0, 60), 40))
    side = dice.randint(14, 22)
    x, y = dice.randint(0, width - side), dice.randint(0, height - side)
    name = CLASSES[seed % 2]
    draw = ImageDraw.Draw(image)
    shape = draw.ellipse if name == "disc" else draw.rectangle
    shape((x, y, x + side - 1, y + side - 1), fill=(230, 220, dice.randint(120, 255)))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue(), [(name, x, y, side, side)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Version, Path]:
    folder = tmp_path_factory.mktemp("detector")
    store = Store.open(f"file://{folder}/store", create=True)
    store.register_classes(CLASSES)
    for split, seeds in (("train", range(24)), ("val", range(100, 112))):
        images = {f"{split}-{seed}": scene(seed, 64, 48) for seed in seeds}
        source = write_folder(folder / split, images)
        import_dataset(store, source, "data", op_id=op_id(split), split=split)
    return store, store.branch("data").read(), folder


def train(world: tuple[Store, Version, Path], name: str, **settings: object) -> Job:
    store, version, folder = world
    job = prepare_training(
        store,
        version,
        op_id=op_id(name),
        image=bundled_image("detector"),
        class_names=CLASSES,
        config={**SETTINGS, **settings},
        jobs_dir=folder / "jobs",
        cache=AssetCache(folder / "cache"),
        limits=Limits(time_seconds=120),
        labels={},
    )
    run_job(job)
    return job


@pytest.fixture(scope="module")
def trained(world: tuple[Store, Version, Path]) -> TrainingResult:
    return collect_training(train(world, "trained"))


def test_it_learns_and_keeps_both_stages(trained: TrainingResult) -> None:
    assert [stage.name for stage in trained.stages] == ["half", "last"]
    assert trained.metrics["mAP"] > 0.3


def test_same_seed_gives_the_same_model(
    world: tuple[Store, Version, Path], trained: TrainingResult
) -> None:
    assert collect_training(train(world, "again")).model_id == trained.model_id


def test_other_seed_gives_another_model(
    world: tuple[Store, Version, Path], trained: TrainingResult
) -> None:
    other = collect_training(train(world, "other", seed=1, iterations=4))
    assert other.model_id != trained.model_id


def test_curves_are_written(world: tuple[Store, Version, Path]) -> None:
    job = train(world, "curves", iterations=40)
    lines = (job.outputs / "metrics.jsonl").read_text().splitlines()
    points = [(point["step"], point["name"]) for point in map(json.loads, lines)]
    assert points == [(1, "loss"), (20, "loss"), (20, "mAP50"), (40, "loss"), (40, "mAP50")]


def infer(
    world: tuple[Store, Version, Path], model: ModelFiles, version: Version, name: str
) -> Job:
    store, _, folder = world
    return prepare_inference(
        store,
        version,
        op_id=op_id(name),
        image=bundled_image("detector"),
        asset_ids=version.asset_ids(),
        model=model,
        config={},
        jobs_dir=folder / "jobs",
        cache=AssetCache(folder / "cache"),
        limits=Limits(time_seconds=120),
        labels={},
        mine=True,
    )


def test_predictions_come_with_class_shares(
    world: tuple[Store, Version, Path], trained: TrainingResult
) -> None:
    job = infer(world, trained.model_files(), world[1], "look")

    run_job(job)

    taken = collect_inference(job, world[0].classes())
    rows = taken.predictions.to_pylist()
    assert len(taken.assets) == 36
    assert taken.mining is not None
    assert rows
    for row in rows:
        shares = dict(row["class_probs"])
        assert shares[row["class_id"]] == pytest.approx(row["confidence"], abs=1e-4)


def test_images_of_other_shapes_are_fitted_and_boxes_fit_back(
    world: tuple[Store, Version, Path], trained: TrainingResult
) -> None:
    store, _, folder = world
    source = folder / "large"
    if not source.exists():
        small, boxes = scene(2, 64, 48)
        wide = Image.open(io.BytesIO(small)).resize((256, 192), Image.Resampling.NEAREST)
        buffer = io.BytesIO()
        wide.save(buffer, "PNG")
        write_folder(source, {"wide": (buffer.getvalue(), None), "small": (small, boxes)})
    commit = import_dataset(store, source, "large", op_id=op_id("large")).commit
    version = store.read(commit)
    job = infer(world, trained.model_files(), version, "large")

    run_job(job)

    best = {
        row["asset_id"]: row
        for row in reversed(collect_inference(job, store.classes()).predictions.to_pylist())
    }
    sizes = dict(
        zip(
            version.assets()["width"].to_pylist(),
            version.assets()["asset_id"].to_pylist(),
            strict=True,
        )
    )
    small_box, wide_box = best[sizes[64]], best[sizes[256]]
    for side in "xywh":
        assert wide_box[side] == pytest.approx(4 * small_box[side], abs=12)


def test_inference_writes_a_vector_of_each_image(
    world: tuple[Store, Version, Path], trained: TrainingResult
) -> None:
    job = infer(world, trained.model_files(), world[1], "vectors")

    run_job(job)

    vectors = collect_inference(job, world[0].classes()).embeddings
    assert vectors is not None
    assert vectors.num_rows == 36
    assert len(vectors["vector"][0].as_py()) == 2 * 8 * SETTINGS["width"]


def test_training_that_gets_no_better_stops_early(world: tuple[Store, Version, Path]) -> None:
    job = train(world, "early", iterations=400, evaluate_every=2, patience=2, learning_rate=1e-7)

    assert "stopped early: no better for 2 measurements" in job.log_path.read_text()
    trained = collect_training(job)
    assert trained.stages[-1].name == "last"
    assert "iteration 400" not in job.log_path.read_text()


def test_model_says_which_versions_it_was_trained_with(trained: TrainingResult) -> None:
    import tarfile

    import torch
    import yaml

    with tarfile.open(trained.package) as archive:
        member = archive.extractfile("ymir-info.yaml")
        assert member is not None
        environment = yaml.safe_load(member)["environment"]
    assert environment["torch"] == torch.__version__
    assert environment["protocol_version"] == "1.1.0"


def test_foreign_model_is_refused_with_the_contract_s_code(
    world: tuple[Store, Version, Path], trained: TrainingResult, tmp_path: Path
) -> None:
    import tarfile

    with tarfile.open(tmp_path / "package", "w:gz") as archive:
        info = tarfile.TarInfo("last/other.onnx")
        archive.addfile(info)
    model = ModelFiles(
        model_id="0" * 64, package=tmp_path / "package", class_names=CLASSES, stage="last"
    )
    with pytest.raises(ExecutorFailedError) as caught:
        run_job(infer(world, model, world[1], "foreign"))
    assert caught.value.executor_code == 300004


def test_fine_tuning_starts_from_the_weights(
    world: tuple[Store, Version, Path], trained: TrainingResult
) -> None:
    store, version, folder = world
    job = prepare_training(
        store,
        version,
        op_id=op_id("fine"),
        image=bundled_image("detector"),
        class_names=CLASSES,
        config={**SETTINGS, "iterations": 2},
        jobs_dir=folder / "jobs",
        cache=AssetCache(folder / "cache"),
        limits=Limits(time_seconds=120),
        labels={},
        model=trained.model_files(),
    )
    run_job(job)
    assert "started from a trained model" in job.log_path.read_text()


def test_boxes_of_a_poor_model_lie_inside_their_images(
    world: tuple[Store, Version, Path],
) -> None:
    poor = collect_training(train(world, "poor", iterations=25))
    job = infer(world, poor.model_files(), world[1], "poor boxes")

    run_job(job)

    report = collect_inference(job, world[0].classes()).report
    assert (report.boxes > 0, report.clipped) == (True, 0)


def test_onnx_graph_is_kept_where_it_answers_as_the_network(
    world: tuple[Store, Version, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    import numpy as np
    import onnxruntime
    import torch

    job = train(world, "onnx", iterations=6, export_onnx=True)
    monkeypatch.syspath_prepend(bundled_folder("detector"))
    network_of, difference = (importlib.import_module(name) for name in ("model", "onnx_export"))

    best = collect_training(job).best_stage
    assert f"ONNX of stage {best}: kept, its answers differ by" in job.log_path.read_text()
    folder = job.outputs / "models" / best
    files = [(folder / name).read_bytes() for name in ("model.json", "model.npz", "model.onnx")]
    network = network_of.load_model(*files[:2])
    images = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(files[2], providers=["CPUExecutionProvider"])
    answers = session.run(None, {"images": images.numpy()})
    with torch.inference_mode():
        for answer, asked in zip(answers, network(images), strict=True):
            np.testing.assert_allclose(answer, asked.numpy(), atol=1e-3)
    other = network_of.Detector(network.architecture).eval()
    assert difference._difference(other, files[2], images) > difference.TOLERANCE
