"""Dataset versions in notebooks."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from dataset_sources import OPERATIONS, box, folder_of, image, voc

from mir_ops.dataset import import_dataset, to_fiftyone, to_pandas, to_torch
from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.store import Store


@pytest.fixture
def labelled(tmp_path: Path, store: Store) -> Store:
    files = {
        "images/a.jpg": image(1),
        "images/b.jpg": image(2, turned=6),
        "images/c.jpg": image(3),
        "gt/a.xml": voc(box("dog", 1, 2, 10, 20), box("cat", 0, 0, 3, 3)),
        "gt/b.xml": voc(size=(48, 64)),
    }
    import_dataset(
        store, folder_of(tmp_path / "in", files), "a", op_id=OPERATIONS[0], split="train"
    )
    return store


def test_pandas_gets_a_row_for_each_object_and_image(labelled: Store) -> None:
    pytest.importorskip("pandas")

    frame = to_pandas(labelled.read("a"))
    images = to_pandas(labelled.read("a"), "assets")

    assert sorted(frame["class_name"]) == ["cat", "dog"]
    assert set(frame["split"]) == {"train"}
    assert frame.set_index("class_name").loc["dog", ["x", "y", "w", "h"]].tolist() == [1, 2, 10, 19]
    assert set(frame["asset_id"]) < set(images["asset_id"])
    assert len(images) == 3


def test_torch_gets_upright_images_and_targets_in_the_order_of_the_taxonomy(
    labelled: Store,
) -> None:
    torch = pytest.importorskip("torch")

    images = to_torch(labelled, "a")
    items = [images[number] for number in range(len(images))]

    assert images.class_names == ("background", "cat", "dog")
    assert len(items) == 2  # nobody looked at the third
    (full,) = (item for item in items if len(item[1]["labels"]))
    assert full[0].shape == (3, 48, 64)
    assert full[0].dtype == torch.uint8
    assert sorted(full[1]["labels"].tolist()) == [1, 2]
    assert [1, 2, 11, 21] in full[1]["boxes"].tolist()
    (empty,) = (item for item in items if not len(item[1]["labels"]))
    assert empty[0].shape == (3, 64, 48)  # turned by EXIF
    assert empty[1]["boxes"].shape == (0, 4)
    with pytest.raises(IndexError):
        images[2]


def test_a_data_loader_reads_in_its_own_processes(labelled: Store) -> None:
    torch = pytest.importorskip("torch")
    images = to_torch(labelled, "a", transform=_count_objects)

    again = pickle.loads(pickle.dumps(images))
    loader = torch.utils.data.DataLoader(images, batch_size=2, num_workers=0)

    assert [again[number] for number in range(2)] == [images[0], images[1]]
    assert sorted(next(iter(loader)).tolist()) == [0, 2]


def test_fiftyone_gets_shares_of_the_image_and_a_field_for_each_layer(
    labelled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The library is too large to be at hand here: this stands in for the five names that we use.
    monkeypatch.setitem(sys.modules, "fiftyone", fake_fiftyone())

    dataset = to_fiftyone(labelled, "a", tmp_path / "media", name="mine")

    assert dataset.name == "mine"
    assert len(dataset.samples) == 3
    assert all(Path(sample["filepath"]).is_file() for sample in dataset.samples)
    assert all(sample["tags"] == ["train"] for sample in dataset.samples)
    found = [d for s in dataset.samples for d in s["ground_truth"].detections]
    boxes = {each.label: each.bounding_box for each in found}
    assert np.allclose(boxes["dog"], [1 / 64, 2 / 48, 10 / 64, 19 / 48])


def test_what_is_missing_is_said(labelled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFoundError, match="has no layer `predictions:x`") as caught:
        to_torch(labelled, "a", "predictions:x")
    assert caught.value.hint == "It has ground_truth"
    monkeypatch.setitem(sys.modules, "fiftyone", None)
    with pytest.raises(InvalidInputError, match="needs the library `fiftyone`") as missing:
        to_fiftyone(labelled, "a", Path("nowhere"))
    assert missing.value.hint == "Install it with `pip install fiftyone`"


def _count_objects(_image: Any, target: dict[str, Any]) -> int:
    return len(target["labels"])


def fake_fiftyone() -> Any:
    class Dataset(SimpleNamespace):
        def __init__(self, name: str | None, persistent: bool) -> None:
            super().__init__(name=name, persistent=persistent, samples=[])

        def add_samples(self, samples: list[Any]) -> None:
            self.samples += samples

    return SimpleNamespace(
        Sample=lambda **values: dict(values),
        Detection=SimpleNamespace,
        Detections=SimpleNamespace,
        Polyline=SimpleNamespace,
        Polylines=SimpleNamespace,
        Dataset=Dataset,
    )
