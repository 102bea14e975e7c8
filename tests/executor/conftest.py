from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from executor_jobs import CLASSES, image_bytes, op_id, write_folder

from mir_ops.dataset import import_dataset
from mir_ops.executor import (
    AssetCache,
    ExecutorImage,
    Job,
    Limits,
    ModelFiles,
    bundled_image,
    collect_training,
    prepare_inference,
    prepare_training,
    run_job,
)
from mir_ops.store import Store, Version

Prepare = Callable[..., Job]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("store")
    store = Store.open(f"file://{folder}/store", create=True)
    store.register_classes(CLASSES)
    train = {
        "plain": (image_bytes(1), [("cat", 4, 5, 10, 12), ("dog", 20, 8, 6, 7)]),
        "empty": (image_bytes(2), []),
        "turned": (image_bytes(3, orientation=6), [("dog", 1, 2, 3, 4)]),
        "png": (image_bytes(4, kind="PNG"), [("bird", 3, 3, 5, 5), ("cat", 9, 9, 4, 4)]),
    }
    val = {f"val-{n}": (image_bytes(10 + n), [("cat", 2, 2, 8, 8)]) for n in range(3)}
    pool = {f"pool-{n}": (image_bytes(20 + n), None) for n in range(6)}
    for split, images in (("train", train), ("val", val), (None, pool)):
        source = write_folder(folder / str(split), images)
        import_dataset(store, source, "data", op_id=op_id(f"import {split}"), split=split)
    return store


@pytest.fixture
def version(store: Store) -> Version:
    return store.branch("data").read()


@pytest.fixture
def prepare(store: Store, version: Version, tmp_path: Path) -> Prepare:
    def prepare(**changes: Any) -> Job:
        arguments: dict[str, Any] = {
            "op_id": op_id("train"),
            "image": bundled_image("sample"),
            "class_names": ("dog", "cat"),
            "config": {},
            "jobs_dir": tmp_path / "jobs",
            "cache": AssetCache(tmp_path / "cache"),
            "limits": Limits(time_seconds=60),
            "labels": {"mir.task": "train"},
            **changes,
        }
        source = arguments.pop("version", version)
        return prepare_training(store, source, **arguments)

    return prepare


@pytest.fixture
def model(prepare: Prepare) -> ModelFiles:
    job = prepare()
    run_job(job)
    return collect_training(job).model_files()


@pytest.fixture
def prepare_candidates(
    store: Store, version: Version, tmp_path: Path, model: ModelFiles
) -> Prepare:
    def prepare(**changes: Any) -> Job:
        arguments: dict[str, Any] = {
            "op_id": op_id("infer"),
            "image": bundled_image("sample"),
            "asset_ids": version.asset_ids(),
            "model": model,
            "config": {},
            "jobs_dir": tmp_path / "jobs",
            "cache": AssetCache(tmp_path / "cache"),
            "limits": Limits(time_seconds=60),
            "labels": {},
            **changes,
        }
        return prepare_inference(store, version, **arguments)

    return prepare


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], ExecutorImage]:
    """An executor of one's own, from a few lines of Python."""

    def write(code: str) -> ExecutorImage:
        folder = tmp_path / "executors" / "script"
        (folder / "img-man").mkdir(parents=True, exist_ok=True)
        (folder / "img-man" / "training-template.yaml").write_text("seed: 0\n")
        (folder / "start.py").write_text(code)
        sdk = folder.parent / "sdk"
        if not sdk.exists():
            os.symlink(Path(__file__).parents[2] / "executors" / "sdk", sdk)
        return ExecutorImage(name="script", image="mir-ops/script:1", folder=folder)

    return write
