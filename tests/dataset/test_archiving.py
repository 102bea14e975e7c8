"""A version as one zip file: what is in it, that it comes back, and that it is bounded."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from dataset_sources import OPERATIONS, box, folder_of, image, voc

from mir_ops.dataset import archiving, import_dataset
from mir_ops.dataset.archiving import archive
from mir_ops.errors import InvalidInputError
from mir_ops.store import Store, keys


@pytest.fixture
def filled(tmp_path: Path, store: Store) -> Store:
    """`one`: 0 a cat, 1 empty, 2 not labelled."""
    files = {f"images/{n}.jpg": image(n) for n in range(3)}
    files |= {"gt/0.xml": voc(box("cat", 0, 0, 9, 9)), "gt/1.xml": voc()}
    import_dataset(store, folder_of(tmp_path / "1", files), "one", op_id=OPERATIONS[0])
    return store


@pytest.mark.parametrize("annotations", ["voc", "coco", "yolo"])
def test_archive_imported_again_is_the_same_dataset(
    filled: Store, tmp_path: Path, annotations: str
) -> None:
    version = filled.read("one")
    path = tmp_path / "sent.zip"

    path.write_bytes(b"".join(archive(filled, version, annotations=annotations)))  # type: ignore[arg-type]

    other = Store.open((tmp_path / "other").as_uri(), create=True)
    other.register_classes(["cat", "dog"])
    import_dataset(other, path, "back", op_id=OPERATIONS[1])
    back = other.read("back")
    assert back.asset_ids().equals(version.asset_ids())
    assert back.stats.layers["ground_truth"].rows == 1
    names = zipfile.ZipFile(path).namelist()
    assert {f"images/{n}.jpg" for n in range(3)} <= set(names)
    assert not any("index.tsv" in name for name in names)


def test_image_that_the_store_lacks_is_listed(filled: Store) -> None:
    version = filled.read("one")
    lost = version.asset_ids()[0].as_py().hex()
    path = filled.objects.local_path(keys.blob(lost))
    assert path is not None
    path.unlink()

    content = b"".join(archive(filled, version))

    with zipfile.ZipFile(io.BytesIO(content)) as file:
        assert file.testzip() is None
        assert sum(name.startswith("images/") for name in file.namelist()) == 2
        assert "not in the store: images/" in file.read("report.txt").decode()


def test_archive_that_is_too_large_is_refused_at_once(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving, "MOST_BYTES", 10)

    with pytest.raises(InvalidInputError, match="is too large for one file"):
        archive(filled, filled.read("one"))
