"""What the reference detector reaches on the demonstration's scenes, and in what time."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
from executor_jobs import op_id

from mir_ops.dataset import import_dataset
from mir_ops.demo.scenes import compose, to_voc
from mir_ops.executor import (
    AssetCache,
    Limits,
    TrainingResult,
    bundled_image,
    collect_training,
    prepare_training,
    run_job,
)
from mir_ops.store import Store

pytest.importorskip("torch")

LEAST_MAP, MOST_SECONDS = 0.70, 60.0


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """400 scenes to train on and 240 to measure on, of one distribution with balanced classes."""
    folder = tmp_path_factory.mktemp("scenes")
    store = Store.open(f"file://{folder}/store", create=True)
    scenes = compose("validation", 640, seed=0)
    for split, count in (("train", 400), ("val", 240)):
        path = folder / f"{split}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for scene in islice(scenes, count):
                archive.writestr(f"images/{scene.name}", scene.content)
                stem = scene.name.rpartition(".")[0]
                archive.writestr(f"annotations/{stem}.xml", to_voc(scene))
        import_dataset(store, path, "data", op_id=op_id(split), split=split, unknown_classes="add")
    return store


def train(store: Store, folder: Path, name: str, seed: int) -> tuple[TrainingResult, float]:
    """The model, and how many seconds of one processor it took."""
    version = store.branch("data").read()
    job = prepare_training(
        store,
        version,
        op_id=op_id(name),
        image=bundled_image("detector"),
        class_names=version.taxonomy.names,
        config={"seed": seed, "iterations": 1000, "export_onnx": False},
        jobs_dir=folder / "jobs",
        cache=AssetCache(folder / "cache"),
        limits=Limits(time_seconds=1200),
        labels={},
    )
    run_job(job)
    seconds = re.search(r"trained in ([0-9.]+) CPU-seconds", job.log_path.read_text())
    assert seconds is not None
    return collect_training(job), float(seconds[1])


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_it_learns_the_scenes_in_a_minute_with_each_seed(
    store: Store, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    reached = {}
    for seed in range(3):
        trained, seconds = train(store, tmp_path, f"seed {seed}", seed)
        reached[seed] = (trained.metrics["mAP"], seconds)
    told = ", ".join(f"mAP50 {value:.3f} in {spent:.0f} s" for value, spent in reached.values())
    record_property("figure", told)
    assert min(value for value, _ in reached.values()) >= LEAST_MAP, told
    assert max(spent for _, spent in reached.values()) <= MOST_SECONDS, told
    again, _ = train(store, tmp_path, "again", 2)
    assert again.model_id == trained.model_id
