"""Archives of any bytes: an import takes what is whole, or commits nothing; it never breaks."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path

import pytest
from dataset_sources import OPERATIONS, box, image, voc
from hypothesis import given, settings
from hypothesis import strategies as st

from mir_ops.dataset import import_dataset
from mir_ops.errors import MirError
from mir_ops.store import Store

FILES = {
    "images/a.jpg": image(1, (16, 12)),
    "images/b.png": image(2, (8, 8), "PNG"),
    "annotations/a.xml": voc(box("cat", 1, 1, 9, 9), size=(16, 12)),
}


def packed() -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, body in FILES.items():
            archive.writestr(zipfile.ZipInfo(name), body)
    return written.getvalue()


ARCHIVE = packed()
CHANGES = st.lists(
    st.tuples(st.integers(0, len(ARCHIVE)), st.integers(0, 30), st.binary(max_size=30)),
    min_size=1,
    max_size=4,
)


def check_import(changes: list[tuple[int, int, bytes]]) -> None:
    body = bytearray(ARCHIVE)
    for at, removed, put in changes:
        body[at : at + removed] = put
    store = Store.open("memory:")
    store.register_classes(["cat"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.zip"
        path.write_bytes(body)
        try:
            taken = import_dataset(store, path, "b", op_id=OPERATIONS[0]).report.taken
        except MirError:
            assert not store.branch("b").exists
            return
    version = store.read("b")
    assert version.stats.assets == taken["images"] > 0
    for asset_id in version.assets()["asset_id"].to_pylist():
        store.get_blob(asset_id.hex())


@settings(max_examples=50)
@given(CHANGES)
def test_a_changed_archive_is_imported_or_leaves_nothing(
    changes: list[tuple[int, int, bytes]],
) -> None:
    check_import(changes)


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(max_examples=10_000)
@given(CHANGES)
def test_ten_thousand_changed_archives_are_imported_or_leave_nothing(
    changes: list[tuple[int, int, bytes]],
) -> None:
    check_import(changes)
