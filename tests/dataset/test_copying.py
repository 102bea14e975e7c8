"""Copies between stores: classes by name, attributes, predictions and their models kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from dataset_rows import CLASSES, Row, names, put
from dataset_sources import OPERATIONS, box, folder_of, image, voc

from mir_ops.cli.main import main
from mir_ops.dataset import import_dataset, subset
from mir_ops.dataset.copying import copy_dataset
from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.evaluation.frozen import (
    freeze,
    frozen_images,
    frozen_sets,
    refuse_frozen_images,
)
from mir_ops.store import Commit, Operation, Store, Version
from mir_ops.taxonomy import ClassName, Taxonomy


@pytest.fixture
def source(tmp_path: Path) -> Store:
    """A store with real images: a cat, a cat and a bird, nothing; its ids are not the others'."""
    store = Store.open((tmp_path / "source").as_uri(), create=True)
    store.register_classes(["fish", "bird", "cat"])
    cat, bird = box("cat", 0, 0, 9, 9), box("bird", 5, 5, 9, 9)
    files = {f"images/{n}.jpg": image(n) for n in range(3)}
    weather = "<cks><weather>rain</weather></cks>"
    labels = (voc(cat, more=weather), voc(cat, bird), voc())
    files |= {f"gt/{n}.xml": data for n, data in enumerate(labels)}
    import_dataset(store, folder_of(tmp_path / "files", files), "all", op_id=OPERATIONS[1])
    add_predictions(store)
    return store


def add_predictions(store: Store) -> None:
    version = store.read("all")
    truth = version.layer("ground_truth")
    shares = pa.array([[(2, 0.75), (1, 0.25)]] * truth.num_rows, pa.map_(pa.int32(), pa.float32()))
    columns = {name: truth[name] for name in truth.column_names}
    columns |= {"confidence": pa.array(np.full(truth.num_rows, 0.5, "f4")), "class_probs": shares}
    with store.edit(
        "all", op_id=OPERATIONS[2], operation=Operation(kind="infer"), message="Predict"
    ) as edit:
        edit.put_layer("predictions:model-1", pa.table(columns), assets=version.asset_ids())


def boxes(version: Version, layer: str = "ground_truth") -> list[tuple[str, float]]:
    table = version.layer(layer)
    return sorted(
        (version.taxonomy.name_of(row["class_id"]), row["x"]) for row in table.to_pylist()
    )


def test_a_copy_has_the_same_images_boxes_and_predictions(source: Store, store: Store) -> None:
    store.register_classes(["bird"])

    done = copy_dataset(source, "all", store, "copy", op_id=OPERATIONS[3])

    before, after = source.read("all"), store.read("copy")
    assert after.assets().equals(before.assets())
    assert after.layers() == before.layers() == ["ground_truth", "predictions:model-1"]
    for layer in after.layers():
        assert boxes(after, layer) == boxes(before, layer)
        assert after.layer_assets(layer).equals(before.layer_assets(layer))
    shares = after.layer("predictions:model-1")["class_probs"][0].as_py()
    assert {after.taxonomy.name_of(key): value for key, value in shares} == {
        "cat": 0.75,
        "bird": 0.25,
    }
    blob = after.asset_ids()[0].as_py().hex()
    assert store.get_blob(blob) == source.get_blob(blob)
    assert done.left_out == {}
    assert done.commit.operation.parameters["origin"]["commit"] == before.id


def test_classes_are_matched_by_alias(source: Store, store: Store) -> None:
    known = Taxonomy((ClassName(0, "cat"), ClassName(1, "dog", ("bird",))))

    copy_dataset(source, "all", store, "copy", taxonomy=known, op_id=OPERATIONS[3])

    assert [name for name, _ in boxes(store.read("copy"))] == ["cat", "cat", "dog"]


def test_an_unknown_class_stops_is_left_out_or_added(source: Store, store: Store) -> None:
    with pytest.raises(InvalidInputError) as caught:
        copy_dataset(source, "all", store, "copy", op_id=OPERATIONS[3])
    assert str(caught.value) == "Nobody declared these classes here: `bird` (2)"
    assert not store.branch("copy").exists

    done = copy_dataset(source, "all", store, "copy", unknown_classes="ignore", op_id=OPERATIONS[3])
    assert done.left_out == {"bird": 2}
    copied = store.read("copy")
    assert [name for name, _ in boxes(copied)] == ["cat", "cat"]
    assert len(copied.layer_assets("ground_truth")) == 3
    assert copied.layer("predictions:model-1")["class_probs"][0].as_py() == [(0, 0.75)]

    copy_dataset(source, "all", store, "added", unknown_classes="add", op_id=OPERATIONS[3])
    assert [name for name, _ in boxes(store.read("added"))] == ["bird", "cat", "cat"]


def test_images_whose_annotations_all_went_are_still_covered(source: Store, tmp_path: Path) -> None:
    empty = Store.open((tmp_path / "empty").as_uri(), create=True)

    copy_dataset(source, "all", empty, "copy", unknown_classes="ignore", op_id=OPERATIONS[3])

    layer = empty.read("copy").stats.layers["ground_truth"]
    assert (layer.assets, layer.rows) == (3, 0)


def test_a_copy_commits_nothing_when_an_image_is_nowhere(source: Store, store: Store) -> None:
    put(source, "cats", [Row(name="one", boxes=["cat"])])

    with pytest.raises(NotFoundError):
        copy_dataset(source, "cats", store, "copy", op_id=OPERATIONS[3])
    assert not store.branch("copy").exists


def test_annotations_can_be_left_behind(source: Store, store: Store) -> None:
    done = copy_dataset(source, "all", store, "copy", drop_annotations=True, op_id=OPERATIONS[3])

    assert (store.read("copy").layers(), done.commit.stats.assets) == ([], 3)
    attributes = store.read("copy").assets(columns=["attributes"])["attributes"].to_pylist()
    assert [("weather", "rain")] in attributes


def test_a_copy_replaces_what_the_branch_held_and_happens_once(source: Store, store: Store) -> None:
    put(store, "copy", [Row(name="before", boxes=["dog"], predicted=["dog"])])
    before = source.read("all")

    first = copy_dataset(source, "all", store, "copy", unknown_classes="add", op_id=OPERATIONS[3])
    again = copy_dataset(source, "all", store, "copy", op_id=OPERATIONS[3])

    assert first == again
    assert names(store.read("copy")) == names(before)
    assert "predictions:m" not in store.read("copy").layers()
    assert {*CLASSES} <= {*store.read("copy").taxonomy.names}


def test_what_is_frozen_there_is_frozen_here_before_a_branch_has_it(
    source: Store, store: Store
) -> None:
    ids = source.read("all").asset_ids()
    subset(source, "all", "tests", asset_ids=ids[:1], op_id=OPERATIONS[4])
    freeze(source, "golden", source.read("tests").commit)
    freeze(source, "elsewhere", imported_alone(source))

    done = copy_dataset(source, "all", store, "copy", unknown_classes="add", op_id=OPERATIONS[3])

    assert done.frozen == ("frozen/golden",)  # nothing of the other set is in this version
    assert frozen_images(store, frozen_sets(store).values()).to_pylist() == ids[:1].to_pylist()
    kept = store.read("frozen/golden")
    mine = pc.is_in(store.read("copy").layer("ground_truth")["asset_id"], value_set=ids[:1])
    assert kept.layer("ground_truth").equals(store.read("copy").layer("ground_truth").filter(mine))
    with pytest.raises(InvalidInputError, match="frozen test set `golden`"):
        refuse_frozen_images(store, store.read("copy"), of="the copy", hint="")
    again = copy_dataset(source, "all", store, "copy", unknown_classes="add", op_id=OPERATIONS[3])
    assert again == done


def imported_alone(store: Store) -> Commit:
    files = folder_of(Path(store.url.removeprefix("file://")).parent / "more", {"x.jpg": image(9)})
    return import_dataset(store, files, "alone", op_id=OPERATIONS[5]).commit


def test_a_copy_that_was_cut_short_has_frozen_first(
    source: Store, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    freeze(source, "golden", source.read("all").commit)
    edit = Store.edit

    def cut(self: Store, branch: str, **more: Any) -> Any:
        if branch == "copy":
            raise KeyboardInterrupt
        return edit(self, branch, **more)

    monkeypatch.setattr(Store, "edit", cut)
    with pytest.raises(KeyboardInterrupt):
        copy_dataset(source, "all", store, "copy", unknown_classes="add", op_id=OPERATIONS[3])
    monkeypatch.undo()
    assert list(frozen_sets(store)) == ["golden"]

    copy_dataset(source, "all", store, "copy", unknown_classes="add", op_id=OPERATIONS[3])
    assert list(frozen_sets(store)) == ["golden"]


def test_a_name_that_is_taken_here_gets_another(source: Store, store: Store) -> None:
    ids = source.read("all").asset_ids()
    subset(source, "all", "tests", asset_ids=ids[:1], op_id=OPERATIONS[4])
    freeze(source, "golden", source.read("tests").commit)
    copy_dataset(source, "tests", store, "first", unknown_classes="add", op_id=OPERATIONS[3])
    freeze(source, "silver", source.read("all").commit)
    freeze(store, "silver", store.read("first").commit)

    done = copy_dataset(source, "all", store, "copy", unknown_classes="add", op_id=OPERATIONS[6])

    (tag,) = done.frozen
    assert tag.startswith("frozen/silver-")
    assert set(frozen_images(store, frozen_sets(store).values())) == set(ids)


def test_mir_copy_reads_a_repository_or_a_store(
    source: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main(["init"]) == 0
    words = ["--json", "copy", "--src-root", str(tmp_path / "source"), "--src-revs", "all"]
    assert main([*words, "--dst-rev", "a@copied"]) == 1
    assert "Nobody declared these classes here: `cat` (4), `bird` (2)" in capsys.readouterr().err

    assert main([*words, "--unknown-types-strategy", "add", "--dst-rev", "a@copied"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["operation"], done["images"], done["left_out"]) == ("copy", 3, {})
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    assert main(["init"]) == 0
    words = ["copy", "--src-root", str(tmp_path / "here"), "a@copied", "--ignore-unknown-types"]
    assert main([*words, "--drop-annotations", "--to", "b"]) == 0
    assert main(["copy", "--src-root", str(tmp_path / "here"), "--to", "b"]) == 1
