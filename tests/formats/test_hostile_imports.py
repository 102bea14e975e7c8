"""An import of annotations that are wrong commits what was usable, or nothing at all."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import pytest
from annotation_fuzz import coco_files, voc_files, yolo_files, yolo_names
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mir_ops.dataset import import_dataset
from mir_ops.errors import MirError, NotFoundError
from mir_ops.formats import FormatName
from mir_ops.store import Store

SOURCES = st.one_of(
    voc_files().map(lambda data: ("voc", {"annotations/a.xml": data})),
    coco_files().map(lambda data: ("coco", {"annotations/a.json": data})),
    st.tuples(yolo_files(), yolo_names()).map(
        lambda both: ("yolo", {"labels/a.txt": both[0], f"labels/{both[1][0]}": both[1][1]})
    ),
)


HELD = settings(suppress_health_check=list(HealthCheck), database=None)
STRATEGIES = st.sampled_from(["stop", "ignore", "add"])


@settings(HELD, max_examples=25)
@given(SOURCES, STRATEGIES)
def test_all_or_nothing_is_committed(
    source: tuple[FormatName, dict[str, bytes]], unknown_classes: str
) -> None:
    check_import(*source, unknown_classes)


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(HELD, max_examples=10_000)
@given(SOURCES, STRATEGIES)
def test_ten_thousand_imports_are_committed_or_leave_nothing(
    source: tuple[FormatName, dict[str, bytes]], unknown_classes: str
) -> None:
    check_import(*source, unknown_classes)


def check_import(annotations: FormatName, files: dict[str, bytes], unknown_classes: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name, data in {"images/a.jpg": picture(), **files}.items():
            (place / name).parent.mkdir(exist_ok=True)
            (place / name).write_bytes(data)
        store = Store.open("memory:")
        try:
            result = import_dataset(
                store,
                place,
                "a",
                op_id="0" * 64,
                annotations=annotations,
                unknown_classes=unknown_classes,  # type: ignore[arg-type]
            )
        except MirError as error:
            said = error.hint
        else:
            version = store.read("a")
            assert version.id == result.commit.id
            assert version.asset_ids().to_pylist() != []
            layers = {name: version.layer(name).num_rows for name in version.layers()}
            assert layers == {name: each.rows for name, each in version.stats.layers.items()}
            return
    assert said
    with pytest.raises(NotFoundError):
        store.read("a")


def picture() -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (64, 48), "navy").save(written, "JPEG")
    return written.getvalue()
