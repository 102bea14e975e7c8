"""Images read and stored by other processes are those that this process would have taken."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from dataset_sources import OPERATIONS, box, folder_of, image, voc, zip_of

from mir_ops.dataset import image_workers, import_dataset, reading, storing
from mir_ops.dataset.image_workers import ImageWorkers
from mir_ops.dataset.report import Tally
from mir_ops.formats.archive import open_tree
from mir_ops.store import Store

FILES = {
    **{f"images/{n:02}.jpg": image(n) for n in range(24)},
    "images/24.jpg": image(3),
    "images/25.jpg": b"\xff\xd8\xff no image",
    "images/26.png": image(26),
    "annotations/03.xml": voc(box("cat", 1, 2, 9, 9)),
}


@pytest.fixture(autouse=True)
def processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "_BATCH_FILES", 2)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)


@pytest.fixture
def local_store(tmp_path: Path) -> Store:
    store = Store.open((tmp_path / "store").as_uri(), create=True)
    store.register_classes(["cat"])
    return store


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "a", FILES)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others get their share although this process is fast."""
    read = reading.read_image
    monkeypatch.setattr(storing, "read_image", lambda *given: (time.sleep(0.1), read(*given))[1])


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.usefixtures("slow")
def test_an_import_is_the_same_with_processes(
    source: Path, local_store: Store, monkeypatch: pytest.MonkeyPatch, link: bool
) -> None:
    found = []
    results = ImageWorkers.results
    monkeypatch.setattr(
        ImageWorkers, "results", lambda self: (found.append(self.done), results(self))[1]
    )
    first = import_dataset(local_store, source, "b", op_id=OPERATIONS[0], link=link)
    monkeypatch.setattr(image_workers, "_FROM_BATCHES", 10**9)
    second = import_dataset(local_store, source, "c", op_id=OPERATIONS[0], link=link)

    assert found[0] > 0 == found[1]
    assert first.report.to_dict() == second.report.to_dict()
    names = ["asset_id", "source_names", "width", "ymir_sha1"]
    one, other = (local_store.read(branch).assets(columns=names) for branch in "bc")
    assert one.equals(other)
    digests = [key.hex() for key in one["asset_id"].to_pylist()]
    assert local_store.has_blobs(digests) == set(digests)
    assert not list(local_store.objects.leftovers())


@pytest.mark.parametrize("command", ["import os; os.kill(os.getpid(), 9)", "raise SystemExit(1)"])
def test_what_a_process_left_undone_is_done_here(
    source: Path, local_store: Store, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(image_workers, "_COMMAND", command)

    report = import_dataset(local_store, source, "b", op_id=OPERATIONS[0]).report

    assert report.taken["images"] == 25
    digests = [key.hex() for key in local_store.read("b").asset_ids().to_pylist()]
    assert local_store.has_blobs(digests) == set(digests)


@pytest.mark.usefixtures("slow")
def test_processes_end_when_the_import_does(
    source: Path, local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_workers, "_COMMAND", "import time; time.sleep(60)")
    started = time.monotonic()
    with open_tree(source) as tree:
        names = [name for name in tree.names if name.startswith("images")]
        batches = storing.store_images(local_store.blobs, tree, names, Tally())
        assert len(next(batches)) == 2
        batches.close()

    assert time.monotonic() - started < 30


@pytest.mark.parametrize("why", ["packed", "no interpreter", "few"])
def test_nothing_is_started_where_it_does_not_pay(
    tmp_path: Path, local_store: Store, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    monkeypatch.setattr(image_workers, "_COMMAND", "raise SystemExit(1)")
    monkeypatch.setattr(image_workers, "_Worker", lambda *_: pytest.fail("a process was started"))
    files = FILES if why != "few" else dict(list(FILES.items())[:6])
    path = (
        zip_of(tmp_path / "a.zip", files) if why == "packed" else folder_of(tmp_path / "a", files)
    )
    if why == "no interpreter":
        monkeypatch.setattr(sys, "executable", "")

    assert import_dataset(local_store, path, "b", op_id=OPERATIONS[0]).report.taken["images"] > 5
