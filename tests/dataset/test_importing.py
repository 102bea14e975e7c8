"""What an import takes, from the forms in which people bring their data."""

from __future__ import annotations

from pathlib import Path

import pytest
from dataset_sources import OPERATIONS, box, folder_of, image, voc, zip_of

from mir_ops.dataset import ImportResult, import_dataset, source_digest
from mir_ops.errors import InvalidInputError
from mir_ops.store import Store
from mir_ops.taxonomy import ClassName, Taxonomy


def boxes(store: Store, rev: str = "b") -> list[tuple[float, ...]]:
    table = store.read(rev).layer("ground_truth")
    return sorted((r["x"], r["y"], r["w"], r["h"]) for r in table.to_pylist())


def codes(result: ImportResult) -> dict[str, int]:
    return {issue.code: issue.count for issue in result.report.issues}


def take(store: Store, source: Path, **options: object) -> ImportResult:
    options.setdefault("op_id", OPERATIONS[0])
    return import_dataset(store, source, "b", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    ("images", "annotations"), [("Images", "GT"), ("d/JPEGImages", "d/Annotations")]
)
def test_a_zip_and_a_folder_with_voc_files_are_taken(
    tmp_path: Path, store: Store, packed: bool, images: str, annotations: str
) -> None:
    files = {
        f"{images}/one.jpg": image(1),
        f"{images}/two.png": image(2, kind="PNG"),
        f"{images}/three.bmp": image(3, kind="BMP"),
        f"{annotations}/one.xml": voc(box("Cat", 1, 2, 10, 20), box("dog", 0, 0, 63, 47)),
        f"{annotations}/two.xml": voc(),
    }
    source = zip_of(tmp_path / "a.zip", files) if packed else folder_of(tmp_path / "a", files)

    result = take(store, source, split="train")

    assert result.report.taken == {"images": 3, "labelled_images": 2, "labelled_boxes": 2}
    assert result.report.issues == ()
    assert boxes(store) == [(0, 0, 64, 48), (1, 2, 10, 19)]
    assert result.commit.stats.splits == {"train": 3}
    assert result.commit.stats.layers["ground_truth"].assets == 2  # three.bmp is not labelled
    kinds = store.read("b").assets(columns=["media_type"])["media_type"].to_pylist()
    assert sorted(kinds) == ["image/bmp", "image/jpeg", "image/png"]


def test_images_alone_are_taken_unlabelled(tmp_path: Path, store: Store) -> None:
    source = folder_of(tmp_path / "a", {"x/one.jpg": image(1), "two.png": image(2, kind="PNG")})

    result = take(store, source)

    assert result.report.taken == {"images": 2}
    assert store.read("b").layers() == []


def test_bytes_and_ids_are_those_of_the_file(tmp_path: Path, store: Store) -> None:
    import hashlib

    data = image(1)
    take(store, folder_of(tmp_path / "a", {"images/one.jpg": data}))

    (row,) = store.read("b").assets().to_pylist()
    assert row["asset_id"] == hashlib.sha256(data).digest()
    assert row["ymir_sha1"] == hashlib.sha1(data).digest()
    assert row["source_names"] == ["images/one.jpg"]
    assert (row["width"], row["height"], row["channels"]) == (64, 48, 3)
    assert store.get_blob(row["asset_id"].hex()) == data


def test_what_the_file_says_about_objects_and_image_is_kept(tmp_path: Path, store: Store) -> None:
    extra = (
        "<difficult>1</difficult><truncated>0</truncated><occluded>1</occluded>"
        "<box_quality>0.5</box_quality><tags><colour>black</colour></tags>"
    )
    more = "<cks><weather>sunny</weather></cks><image_quality>0.75</image_quality>"
    files = {
        "images/a.jpg": image(1),
        "gt/a.xml": voc(box("cat", 1, 1, 5, 5, extra=extra), more=more),
    }

    take(store, folder_of(tmp_path / "a", files))

    version = store.read("b")
    (row,) = version.layer("ground_truth").to_pylist()
    assert (row["difficult"], row["truncated"], row["occluded"]) == (True, False, True)
    assert (row["quality"], row["tags"], row["kind"]) == (0.5, [("colour", "black")], "box")
    (asset,) = version.assets().to_pylist()
    assert dict(asset["attributes"]) == {"weather": "sunny", "image_quality": "0.75"}


def test_a_rotated_box_keeps_its_angle_in_degrees(tmp_path: Path, store: Store) -> None:
    xml = voc(
        "<object><name>cat</name><bndbox><xmin>10</xmin><ymin>10</ymin><xmax>19</xmax>"
        "<ymax>14</ymax><rotate_angle>0.5</rotate_angle></bndbox></object>"
    )
    take(store, folder_of(tmp_path / "a", {"images/a.jpg": image(1), "gt/a.xml": xml}))

    (row,) = store.read("b").layer("ground_truth").to_pylist()
    assert (row["kind"], row["angle"]) == ("rotated_box", 90.0)


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [(6, (38, 2, 9, 4)), (8, (1, 58, 9, 4)), (5, (1, 2, 9, 4)), (7, (38, 58, 9, 4))],
)
def test_boxes_of_a_turned_image_are_turned_with_it(
    tmp_path: Path, store: Store, orientation: int, expected: tuple[int, ...]
) -> None:
    # x 2 to 5, y 1 to 9 of the 64 x 48 image that is displayed as 48 x 64.
    files = {
        "images/a.jpg": image(1, turned=orientation),
        "gt/a.xml": voc(box("cat", 2, 1, 5, 9), size=(64, 48)),
    }
    result = take(store, folder_of(tmp_path / "a", files))

    assert boxes(store) == [expected]
    assert codes(result) == {"boxes-turned": 1}
    (row,) = store.read("b").assets().to_pylist()
    assert (row["width"], row["height"], row["orientation"]) == (48, 64, orientation)


def test_boxes_of_the_displayed_image_stay(tmp_path: Path, store: Store) -> None:
    files = {
        "images/a.jpg": image(1, turned=6),
        "gt/a.xml": voc(box("cat", 1, 2, 9, 60), size=(48, 64)),
    }
    result = take(store, folder_of(tmp_path / "a", files))

    assert boxes(store) == [(1, 2, 9, 59)]
    assert result.report.issues == ()


def test_an_index_file_names_images_anywhere(tmp_path: Path, store: Store) -> None:
    folder_of(
        tmp_path,
        {"x/a.jpg": image(1), "y/a.jpg": image(2), "gt/x/a.xml": voc(box("cat", 0, 0, 1, 1))},
    )
    index = tmp_path / "index.tsv"
    index.write_text(f"{tmp_path}/x/a.jpg\tignored\ny/a.jpg\n{tmp_path}/x\n{tmp_path}/gone.jpg\n")

    result = take(store, index, index_file=index, gt_dir=tmp_path / "gt")

    assert result.report.taken["images"] == 2
    assert result.report.taken["labelled_boxes"] == 1
    assert codes(result) == {"file-missing": 1, "index-not-an-image": 1}


def test_predictions_become_a_layer_of_their_own(tmp_path: Path, store: Store) -> None:
    folder_of(tmp_path / "a", {"images/a.jpg": image(1)})
    confident = box("cat", 0, 0, 9, 9, extra="<confidence>0.25</confidence>")
    folder_of(tmp_path / "p", {"a.xml": voc(confident, box("dog", 0, 0, 9, 9))})

    result = take(store, tmp_path / "a", pred_dir=tmp_path / "p")

    table = store.read("b").layer("predictions:imported")
    assert sorted(table["confidence"].to_pylist()) == [0.25, 1.0]
    assert codes(result) == {"prediction-without-confidence": 1}
    assert len(set(table["annotation_id"].to_pylist())) == 2


def test_the_same_operation_imports_once_and_reports_the_same(tmp_path: Path, store: Store) -> None:
    files = {
        "images/a.jpg": image(1),
        "images/b.jpg": b"no image",
        "gt/a.xml": voc(box("cat", 0, 0, 1, 1)),
    }
    source = folder_of(tmp_path / "a", files)

    first = take(store, source)
    again = take(store, source)

    assert again.commit.id == first.commit.id
    assert again.report.to_dict() == first.report.to_dict()
    assert store.branch("b").seq == 1


def test_a_second_import_adds_to_the_branch_and_keeps_what_is_known(
    tmp_path: Path, store: Store
) -> None:
    one = folder_of(tmp_path / "1", {"images/a.jpg": image(1)})
    two = folder_of(tmp_path / "2", {"images/z.jpg": image(1), "images/b.jpg": image(2)})
    take(store, one, split="train")
    before = store.read("b").assets().to_pylist()[0]

    take(store, two, op_id=OPERATIONS[1])

    rows = {row["asset_id"]: row for row in store.read("b").assets().to_pylist()}
    known = rows[before["asset_id"]]
    assert len(rows) == 2
    assert known["source_names"] == ["images/a.jpg", "images/z.jpg"]
    assert (known["split"], known["added_at"]) == ("train", before["added_at"])


def test_importing_the_same_under_another_operation_changes_no_row(
    tmp_path: Path, store: Store
) -> None:
    files = {"images/a.jpg": image(1), "gt/a.xml": voc(box("cat", 0, 0, 1, 1))}
    source = folder_of(tmp_path / "a", files)
    take(store, source)
    before = store.read("b")

    take(store, source, op_id=OPERATIONS[1])

    after = store.read("b")
    assert after.assets() == before.assets()
    assert after.layer("ground_truth") == before.layer("ground_truth")


def test_unknown_classes_stop_and_leave_nothing(tmp_path: Path, store: Store) -> None:
    files = {
        "images/a.jpg": image(1),
        "gt/a.xml": voc(box("Cow", 0, 0, 1, 1), box("cat", 0, 0, 1, 1)),
    }

    with pytest.raises(InvalidInputError) as caught:
        take(store, folder_of(tmp_path / "a", files))

    assert caught.value.code == "unknown-classes"
    assert str(caught.value) == (
        "Nobody declared these classes: `cow` (1); `cow` is for example in `gt/a.xml`"
    )
    assert "--unknown-types-strategy" in (caught.value.hint or "")
    assert not store.branch("b").exists
    assert store.classes() == {"cat": 0, "dog": 1}


def test_unknown_classes_are_ignored_or_added_when_asked(tmp_path: Path, store: Store) -> None:
    files = {
        "images/a.jpg": image(1),
        "gt/a.xml": voc(box("Cow", 0, 0, 1, 1), box("cat", 0, 0, 1, 1)),
    }
    source = folder_of(tmp_path / "a", files)

    ignored = take(store, source, unknown_classes="ignore")
    added = import_dataset(store, source, "c", op_id=OPERATIONS[1], unknown_classes="add")

    assert (codes(ignored), ignored.new_classes) == ({"class-unknown": 1}, ())
    assert ignored.report.issues[0].examples == ("cow (1 objects)",)
    assert (codes(added), added.new_classes) == ({"class-added": 1}, ("cow",))
    assert store.classes()["cow"] == 2
    assert store.read("c").taxonomy.names == ["cat", "dog", "cow"]
    assert store.read("b").stats.layers["ground_truth"].classes == {0: 1}


def test_only_declared_classes_count_and_aliases_do(tmp_path: Path, store: Store) -> None:
    files = {"images/a.jpg": image(1), "gt/a.xml": voc(box(" Kitten", 0, 0, 1, 1))}
    declared = Taxonomy((ClassName(0, "cat", ("kitten",)),))

    take(store, folder_of(tmp_path / "a", files), taxonomy=declared)

    version = store.read("b")
    assert version.layer("ground_truth")["class_id"].to_pylist() == [0]
    assert version.taxonomy == declared
    with pytest.raises(InvalidInputError, match="`dog`"):
        take(
            store,
            folder_of(tmp_path / "d", {"a.jpg": image(1), "a.xml": voc(box("dog", 0, 0, 1, 1))}),
            taxonomy=declared,
            op_id=OPERATIONS[1],
        )


def test_annotation_ids_depend_on_the_place_of_the_box_only(tmp_path: Path, store: Store) -> None:
    def ids(name: str, *objects: str) -> list[int]:
        source = folder_of(tmp_path / name, {f"{name}.jpg": image(1), f"{name}.xml": voc(*objects)})
        import_dataset(store, source, name, op_id=OPERATIONS[0])
        table = store.read(name).layer("ground_truth")
        return sorted(table["annotation_id"].to_pylist())

    first = ids("p", box("cat", 0, 0, 1, 1), box("cat", 2, 2, 3, 3))

    assert ids("q", box("cat", 2, 2, 3, 3), box("dog", 0, 0, 1, 1)) == first


def test_digest_sees_content_and_names(tmp_path: Path) -> None:
    one = folder_of(tmp_path / "1", {"a.jpg": b"x", "b.jpg": b"y"})
    same = folder_of(tmp_path / "2", {"b.jpg": b"y", "a.jpg": b"x"})
    renamed = folder_of(tmp_path / "3", {"a.jpg": b"x", "c.jpg": b"y"})

    assert source_digest(one) == source_digest(same)
    assert source_digest(one) != source_digest(renamed)
    assert source_digest(one) != source_digest(one, gt_dir=one)
