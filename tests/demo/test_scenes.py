"""The demonstration data set is the same for a seed, tight, and fair to its validation set."""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from mir_ops.demo import scenes
from mir_ops.demo.scenes import CLASS_NAMES, Part, Scene, compose, write_dataset


@pytest.fixture(scope="module")
def pool() -> list[Scene]:
    return list(compose("pool", 300, seed=5))


def test_equal_seeds_give_equal_files_and_other_seeds_others(tmp_path: Path) -> None:
    first = write_dataset(tmp_path / "1", seed=3, training=12, validation=6, pool=15)
    again = write_dataset(tmp_path / "2", seed=3, training=12, validation=6, pool=15)
    other = write_dataset(tmp_path / "3", seed=4, training=12, validation=6, pool=15)

    for name in ("training", "validation", "pool", "oracle"):
        content = getattr(first, name).read_bytes()
        assert content == getattr(again, name).read_bytes()
        assert content != getattr(other, name).read_bytes()


def test_a_scene_does_not_depend_on_how_many_follow_its_part(pool: list[Scene]) -> None:
    again = list(compose("pool", 300, seed=5))

    assert [scene.content for scene in again] == [scene.content for scene in pool]
    assert len({scene.content for scene in pool}) == 300


def test_the_pool_comes_without_annotations_and_the_oracle_holds_them(tmp_path: Path) -> None:
    paths = write_dataset(tmp_path, seed=1, training=4, validation=4, pool=20)

    with zipfile.ZipFile(paths.pool) as pool, zipfile.ZipFile(paths.oracle) as oracle:
        images = {name for name in oracle.namelist() if name.startswith("images/")}
        assert set(pool.namelist()) == images
        stems = {Path(name).stem for name in images}
        assert set(oracle.namelist()) - images == {f"annotations/{stem}.xml" for stem in stems}
        assert all(pool.read(name) == oracle.read(name) for name in images)


def test_voc_corners_name_the_first_and_the_last_pixel_of_a_box(pool: list[Scene]) -> None:
    scene = next(scene for scene in pool if scene.boxes)

    root = ElementTree.fromstring(scenes.to_voc(scene))

    box, corners = scene.boxes[0], root.find("object/bndbox")
    assert corners is not None
    assert [int(corner.text or "") for corner in corners] == [
        box.x, box.y, box.x + box.width - 1, box.y + box.height - 1,
    ]  # fmt: skip
    assert root.findtext("object/name") == box.class_name
    assert len(root.findall("object")) == len(scene.boxes)


def test_boxes_lie_inside_their_images(pool: list[Scene]) -> None:
    for scene in pool:
        assert Image.open(io.BytesIO(scene.content)).size == (96, 96)
        for box in scene.boxes:
            assert box.x >= 0
            assert box.y >= 0
            assert box.x + box.width <= 96
            assert box.y + box.height <= 96
            assert min(box.width, box.height) >= 4


def test_the_pool_is_redundant_and_long_tailed(pool: list[Scene]) -> None:
    kinds = Counter(scene.kind for scene in pool)
    classes = Counter(box.class_name for scene in pool for box in scene.boxes)

    assert 0.2 < kinds["empty"] / 300 < 0.4
    assert 0.2 < kinds["hard"] / 300 < 0.4
    assert all(not scene.boxes for scene in pool if scene.kind == "empty")
    assert classes["zero"] > 8 * classes["nine"]


@pytest.mark.parametrize("part", ["training", "validation"])
def test_every_class_is_shown(part: Part) -> None:
    for seed in range(4):
        shown = {box.class_name for scene in compose(part, 100, seed=seed) for box in scene.boxes}

        assert shown == set(CLASS_NAMES)


def test_no_glyph_of_validation_occurs_in_training_or_pool() -> None:
    def drawn(part: Part) -> set[bytes]:
        return {glyph.tobytes() for glyphs in scenes._glyphs(part).values() for glyph in glyphs}

    assert drawn("training") == drawn("pool")
    assert not drawn("training") & drawn("validation")
    assert all(np.all(glyphs.max(axis=(1, 2)) > 0) for glyphs in scenes._glyphs("pool").values())
