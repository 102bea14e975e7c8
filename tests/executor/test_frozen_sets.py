"""No training is prepared on a version that has an image of a frozen test set."""

from __future__ import annotations

from pathlib import Path

import pytest
from executor_jobs import CLASSES, image_bytes, op_id, write_folder

from mir_ops.dataset import import_dataset
from mir_ops.errors import InvalidInputError
from mir_ops.evaluation import freeze
from mir_ops.executor import AssetCache, Limits, bundled_image, prepare_training
from mir_ops.store import Store


def test_a_training_on_a_frozen_image_is_refused_and_nothing_is_prepared(tmp_path: Path) -> None:
    store = Store.open(f"file://{tmp_path}/store", create=True)
    store.register_classes(CLASSES)
    for split, number in (("train", 1), ("val", 2)):
        source = write_folder(
            tmp_path / split, {split: (image_bytes(number), [("cat", 4, 5, 10, 12)])}
        )
        import_dataset(store, source, "data", op_id=op_id(f"import {split}"), split=split)
        if split == "train":
            golden = store.read("data").commit
    jobs = tmp_path / "jobs"

    def prepare() -> object:
        return prepare_training(
            store,
            store.read("data"),
            op_id=op_id("train"),
            image=bundled_image("sample"),
            class_names=("cat",),
            config={},
            jobs_dir=jobs,
            cache=AssetCache(tmp_path / "cache"),
            limits=Limits(time_seconds=60),
            labels={},
        )

    freeze(store, "golden", golden)
    with pytest.raises(InvalidInputError) as caught:
        prepare()

    assert caught.value.code == "frozen-test-set"
    assert "frozen test set `golden`" in str(caught.value)
    assert not jobs.exists() or not list(jobs.iterdir())
