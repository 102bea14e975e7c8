"""What is exported can be imported again, and is the same."""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from dataset_sources import OPERATIONS, box, folder_of, image, voc
from hypothesis import given, settings
from hypothesis import strategies as st

from mir_ops.dataset import ExportFolders, export_dataset, import_dataset
from mir_ops.errors import ConflictError
from mir_ops.formats.voc import read_voc, write_voc
from mir_ops.store import Store

_COLUMNS = ["asset_id", "annotation_id", "class_id", "kind", "x", "y", "w", "h", "tags", "quality"]
_FLAGS = ["difficult", "truncated", "occluded"]


def test_a_labelled_dataset_comes_back_the_same(tmp_path: Path, store: Store) -> None:
    extra = "<difficult>1</difficult><truncated>1</truncated><tags><a>b&lt;</a></tags>"
    more = "<cks><weather>sun &amp; rain</weather></cks><image_quality>0.5</image_quality>"
    files = {
        "images/a.jpg": image(1),
        "images/b.png": image(2, kind="PNG"),
        "images/c.bmp": image(3, kind="BMP"),
        "images/turned.jpg": image(4, turned=6),
        "gt/a.xml": voc(box("cat", 0.25, 1, 10.5, 20, extra=extra), more=more),
        "gt/b.xml": voc(),
        "gt/turned.xml": voc(box("dog", 1, 2, 30, 40)),
    }
    import_dataset(store, folder_of(tmp_path / "in", files), "a", op_id=OPERATIONS[0])

    report = export_dataset(store, "a", ExportFolders.under(tmp_path / "out", "voc"))
    again = import_dataset(store, tmp_path / "out", "b", op_id=OPERATIONS[1])

    assert report.taken == {"images": 4, "ground_truth": 3}
    assert again.report.issues == ()
    before, after = store.read("a"), store.read("b")
    columns = _COLUMNS + _FLAGS
    assert after.asset_ids() == before.asset_ids()
    assert after.layer_assets("ground_truth") == before.layer_assets("ground_truth")
    first = before.layer("ground_truth", columns=columns).to_pylist()
    second = after.layer("ground_truth", columns=columns).to_pylist()
    assert second == first
    attributes = ["asset_id", "width", "height", "orientation", "attributes"]
    assert after.assets(columns=attributes) == before.assets(columns=attributes)


def test_files_are_named_by_sha1_or_as_they_came(tmp_path: Path, store: Store) -> None:
    names = {"images/x/a.jpg": image(1), "images/y/a.jpg": image(2), "images/y/b.jpg": image(3)}
    import_dataset(store, folder_of(tmp_path / "in", names), "a", op_id=OPERATIONS[0])
    sha1 = {hashlib.sha1(data).hexdigest() for data in names.values()}

    export_dataset(store, "a", ExportFolders.under(tmp_path / "sha1", "voc"))
    export_dataset(store, "a", ExportFolders.under(tmp_path / "as", "voc"), names="original")
    folders = ExportFolders(images=tmp_path / "sub")
    export_dataset(store, "a", folders, sub_folders=True)

    assert {path.stem for path in (tmp_path / "sha1/images").glob("*.jpg")} == sha1
    original = {path.name for path in (tmp_path / "as/images").glob("*.jpg")}
    assert {"a.jpg", "b.jpg"} < original
    assert len(original) == 3
    assert {f"{name[-2:]}/{name}.jpg" for name in sha1} == {
        str(path.relative_to(tmp_path / "sub")) for path in (tmp_path / "sub").glob("*/*.jpg")
    }
    index = (tmp_path / "sub/index.tsv").read_text().split()
    assert sorted(index) == sorted(str(path) for path in (tmp_path / "sub").glob("*/*.jpg"))


def test_only_the_wanted_classes_are_exported(tmp_path: Path, store: Store) -> None:
    files = {
        "images/a.jpg": image(1),
        "gt/a.xml": voc(box("cat", 0, 0, 9, 9), box("dog", 1, 1, 5, 5)),
    }
    import_dataset(store, folder_of(tmp_path / "in", files), "a", op_id=OPERATIONS[0])

    export_dataset(store, "a", ExportFolders.under(tmp_path / "out", "voc"), class_names=["dog"])

    (path,) = (tmp_path / "out/annotations").glob("*.xml")
    assert path.read_text().count("<object>") == 1
    assert "<name>dog</name>" in path.read_text()


def test_an_export_never_mixes_with_other_files(tmp_path: Path, store: Store) -> None:
    folder_of(tmp_path / "out", {"images/mine.txt": b"keep"})
    import_dataset(store, folder_of(tmp_path / "in", {"a.jpg": image(1)}), "a", op_id=OPERATIONS[0])

    with pytest.raises(ConflictError, match="is not empty"):
        export_dataset(store, "a", ExportFolders.under(tmp_path / "out", "voc"))
    assert [path.name for path in (tmp_path / "out").rglob("*.*")] == ["mine.txt"]


def spans(limit: int) -> st.SearchStrategy[tuple[float, float]]:
    """Two positions in an image side that are at least a little apart."""
    place = st.floats(0, limit, width=32) | st.integers(0, limit).map(float)
    ordered = st.tuples(place, place).map(lambda pair: (min(pair), max(pair)))
    return ordered.filter(lambda pair: pair[1] - pair[0] > 0.01)


@settings(max_examples=15)
@given(st.lists(st.tuples(spans(64), spans(48), st.sampled_from(["cat", "dog"])), max_size=6))
def test_any_box_inside_the_image_comes_back_the_same(
    drawn: list[tuple[tuple[float, float], tuple[float, float], str]],
) -> None:
    objects = [
        box(name, left, top, repr(right - 1), repr(bottom - 1))
        for (left, right), (top, bottom), name in drawn
    ]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        store = Store.open("memory:")
        store.register_classes(["cat", "dog"])
        files = {"images/a.jpg": image(1), "gt/a.xml": voc(*objects)}
        import_dataset(store, folder_of(place / "in", files), "a", op_id=OPERATIONS[0])
        export_dataset(store, "a", ExportFolders.under(place / "out", "voc"))
        result = import_dataset(store, place / "out", "b", op_id=OPERATIONS[1])

        assert result.report.issues == ()
        first, second = (store.read(rev).layer("ground_truth", columns=_COLUMNS) for rev in "ab")
        assert second == first
        assert len(first) == len(set(drawn))


def test_the_layouts_of_coco_yolo_and_ark(tmp_path: Path, store: Store) -> None:
    files = {
        "images/train/a.jpg": image(1),
        "images/b.jpg": image(2),
        "labels/train/a.txt": b"1 0.5 0.5 0.25 0.5\n",
        "labels/classes.txt": b"cat\ndog\n",
    }
    import_dataset(store, folder_of(tmp_path / "in", files), "a", op_id=OPERATIONS[0])
    (row,) = store.read("a").layer("ground_truth").to_pylist()
    sha1 = hashlib.sha1(image(1)).hexdigest()

    out = tmp_path / "out"
    export_dataset(store, "a", ExportFolders.under(out / "coco", "coco"), annotations="coco")
    yolo = export_dataset(store, "a", ExportFolders.under(out / "yolo", "yolo"), annotations="yolo")
    both = ExportFolders(images=out / "ark", ground_truth=out / "ark")
    ark = export_dataset(store, "a", both, annotations="ark")

    coco = json.loads((out / "coco/annotations/coco-annotations.json").read_text())
    names = [entry["name"] for entry in coco["categories"]]
    assert names == store.read("a").taxonomy.names
    (entry,) = coco["annotations"]
    assert (entry["id"], entry["image_id"], entry["bbox"]) == (1, 1, [24, 12, 16, 24])
    assert names[entry["category_id"] - 1] == "dog"
    assert [each["file_name"] for each in coco["images"]] == [f"{sha1}.jpg"]
    assert (out / f"yolo/images/train/{sha1}.jpg").read_bytes() == image(1)
    assert (out / f"yolo/labels/train/{sha1}.txt").read_text() == "1 0.5 0.5 0.25 0.5\n"
    data = (out / "yolo/data.yaml").read_text()
    assert data == 'train: "images/train"\nval: "images/train"\nnames:\n  0: "cat"\n  1: "dog"\n'
    assert (out / f"ark/{sha1}.txt").read_text() == "1, 24, 12, 39, 35, -1, 0\n"
    assert len((out / "ark/index.tsv").read_text().split()) == 3
    assert {issue.code for issue in (*yolo.issues, *ark.issues)} <= {"not-carried"}
    assert row["kind"] == "box"


def test_many_files_are_written_as_one_is(tmp_path: Path, store: Store) -> None:
    extra = "<pose>Left</pose><tags><a>b&amp;c</a></tags><box_quality>0.5</box_quality>"
    flags = "<truncated>1</truncated><occluded>0</occluded><difficult>1</difficult>"
    files = {
        "images/a.jpg": image(1),
        "gt/a.xml": voc(
            box("cat", 0.25, 1, 10.5, 20, extra=extra + flags), more="<cks><k>v</k></cks>"
        ),
    }
    import_dataset(store, folder_of(tmp_path / "in", files), "a", op_id=OPERATIONS[0])

    export_dataset(store, "a", ExportFolders.under(tmp_path / "out", "voc"))

    (path,) = (tmp_path / "out/annotations").glob("*.xml")
    read = read_voc(path.read_bytes())
    again = write_voc(replace(read, channels=3)).decode()
    poseless = path.read_text().replace("<pose>Left</pose>", "<pose>unknown</pose>")
    assert poseless == again.replace("      <pose>Left</pose>\n", "")
