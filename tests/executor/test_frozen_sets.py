"""No training is prepared on a version that has an image of a frozen test set."""

from __future__ import annotations

from pathlib import Path

import pytest
from executor_jobs import CLASSES, image_bytes, op_id, write_folder

from mir_ops.dataset import Sampling, import_dataset, merge, sample, subset
from mir_ops.errors import ConflictError, InvalidInputError
from mir_ops.evaluation import freeze
from mir_ops.executor import AssetCache, Job, Limits, bundled_image, prepare_training
from mir_ops.store import Store

CAT = [("cat", 4, 5, 10, 12)]


def data_of(store: Store, folder: Path, branch: str, **images: tuple[str, int]) -> None:
    """Images by name: the split that each goes to, and its number, which makes its bytes."""
    for name, (split, number) in images.items():
        source = write_folder(folder / branch / name, {name: (image_bytes(number), CAT)})
        import_dataset(store, source, branch, op_id=op_id(f"{branch}/{name}"), split=split)


def prepare(store: Store, folder: Path, rev: str = "data") -> Job:
    return prepare_training(
        store,
        store.read(rev),
        op_id=op_id("train"),
        image=bundled_image("sample"),
        class_names=("cat",),
        config={},
        jobs_dir=folder / "jobs",
        cache=AssetCache(folder / "cache"),
        limits=Limits(time_seconds=60),
        labels={},
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.open(f"file://{tmp_path}/store", create=True)
    made.register_classes(CLASSES)
    return made


@pytest.mark.parametrize("frozen", [1, 2])
def test_a_training_on_a_frozen_image_is_refused_and_nothing_is_prepared(
    store: Store, tmp_path: Path, frozen: int
) -> None:
    data_of(store, tmp_path, "data", train=("train", 1), val=("val", 2))
    data_of(store, tmp_path, "golden", one=("test", frozen))
    freeze(store, "golden", store.read("golden").commit)

    with pytest.raises(InvalidInputError) as caught:
        prepare(store, tmp_path)

    assert caught.value.code == "frozen-test-set"
    assert "1 images" in str(caught.value)
    assert "frozen test set `golden`" in str(caught.value)
    assert not (tmp_path / "jobs").exists()


def test_a_frozen_image_is_known_by_its_bytes_in_every_dataset_made_of_it(
    store: Store, tmp_path: Path
) -> None:
    data_of(store, tmp_path, "golden", one=("test", 7))
    freeze(store, "golden", store.read("golden").commit)
    data_of(store, tmp_path, "clean", train=("train", 1), val=("val", 2))
    data_of(store, tmp_path, "renamed", another_name=("train", 7))
    prepare(store, tmp_path, "clean")

    merge(store, ["tr:clean", "tr:renamed", "va:clean"], "a", strategy="guest", op_id=op_id("a"))
    merge(store, ["tr:golden", "va:clean"], "b", op_id=op_id("b"))
    subset(store, "a", "c", asset_ids=store.read("a").asset_ids(), op_id=op_id("c"))
    sample(store, "c", "d", Sampling(count=3, seed=1), op_id=op_id("d"))
    for branch in ("renamed", "a", "b", "c", "d"):
        with pytest.raises(InvalidInputError, match="frozen test set `golden`"):
            prepare(store, tmp_path, branch)


def test_a_set_stays_frozen_when_its_branch_goes(store: Store, tmp_path: Path) -> None:
    data_of(store, tmp_path, "golden", one=("test", 1))
    freeze(store, "golden", store.read("golden").commit)
    data_of(store, tmp_path, "data", train=("train", 1), val=("val", 2))

    store.branch("golden").delete()
    with pytest.raises(ConflictError, match="names another commit"):
        store.create_tag("frozen/golden", store.read("data").id)

    with pytest.raises(InvalidInputError, match="frozen test set `golden`"):
        prepare(store, tmp_path)
