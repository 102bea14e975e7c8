"""Perceptual hashes, near neighbours without comparing all, duplicates and leakage."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from dataset_rows import Row, asset_table, names, put
from dataset_sources import OPERATIONS, folder_of
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from mir_ops.dataset import (
    find_duplicates,
    find_leakage,
    import_dataset,
    merge,
    remove_duplicates,
)
from mir_ops.dataset.duplicates import _independent
from mir_ops.dataset.perceptual import (
    MOST_DISTANCE,
    Neighbours,
    difference_hash,
    find_neighbours,
)
from mir_ops.errors import InvalidInputError, StoreError
from mir_ops.store import Operation, Store

HASH = 0x0F1E2D3C4B5A6978


def picture(seed: int, size: int = 96, kind: str = "PNG", **settings: object) -> bytes:
    small = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    written = io.BytesIO()
    image = Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC)
    image.save(written, kind, **settings)
    return written.getvalue()


def test_a_hash_survives_resizing_and_saving_again() -> None:
    original = difference_hash(picture(1))

    again = difference_hash(picture(1, 200, "JPEG", quality=60))
    other = difference_hash(picture(2))

    assert (original ^ again).bit_count() <= 4
    assert (original ^ other).bit_count() > 12


def test_an_image_is_hashed_as_it_is_displayed() -> None:
    upright = difference_hash(picture(1))
    turns = {3: "ROTATE_180", 5: "TRANSPOSE", 6: "ROTATE_90", 8: "ROTATE_270"}
    for orientation, turn in turns.items():
        with Image.open(io.BytesIO(picture(1))) as image:
            exif, turned = Image.Exif(), io.BytesIO()
            exif[0x0112] = orientation
            image.transpose(Image.Transpose[turn]).save(turned, "PNG", exif=exif)

        assert difference_hash(turned.getvalue()) == upright


def test_deep_images_have_contrast_as_well() -> None:
    with Image.open(io.BytesIO(picture(1))) as image:
        grey = np.asarray(image.convert("L"))
    written = [io.BytesIO(), io.BytesIO()]
    Image.fromarray(grey).save(written[0], "PNG")
    Image.fromarray(grey.astype(np.uint16) * 256).save(written[1], "PNG")

    one, other = (difference_hash(file.getvalue()) for file in written)

    assert one == other != 0


@pytest.mark.parametrize("wrong", [b"", b"no image", picture(1)[:200]])
def test_what_is_no_image_has_no_hash(wrong: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        difference_hash(wrong)


near_hashes = st.lists(
    st.tuples(st.integers(0, 3), st.sets(st.integers(0, 63), max_size=6)), max_size=30
).map(
    lambda chosen: np.array(
        [(HASH * (base * 2 + 1) % 2**64) ^ sum(1 << b for b in bits) for base, bits in chosen],
        np.uint64,
    )
)


@settings(max_examples=50)
@given(hashes=near_hashes, distance=st.integers(0, MOST_DISTANCE))
@example(hashes=np.array([0, 1, 1], np.uint64), distance=3)
def test_neighbours_are_those_of_comparing_all(hashes: np.ndarray, distance: int) -> None:
    found = find_neighbours(hashes, distance)

    values = found.values
    assert (values[found.place] == hashes).all()
    expected = {
        (one, other)
        for one in range(len(values))
        for other in range(one + 1, len(values))
        if values[one] and (int(values[one]) ^ int(values[other])).bit_count() <= distance
    }
    pairs = list(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert sorted(set(pairs)) == sorted(pairs)
    assert set(pairs) == expected


def test_many_hashes_are_not_compared_with_each_other() -> None:
    random = np.random.default_rng(0)
    hashes = random.integers(1, 2**63, 30_000).astype(np.uint64)
    hashes[:100] = hashes[100:200] ^ np.uint64(0b1011 << 20)

    found = find_neighbours(hashes, 4)

    assert len(found.first) == 100


def test_a_distance_that_would_take_too_long_is_refused() -> None:
    with pytest.raises(InvalidInputError) as caught:
        find_neighbours(np.zeros(1, np.uint64), MOST_DISTANCE + 1)
    assert caught.value.code == "bad-distance"


@given(
    st.integers(1, 12).flatmap(
        lambda size: st.tuples(
            st.permutations(range(size)),
            st.sets(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)), max_size=30),
            st.lists(st.booleans(), min_size=size, max_size=size),
        )
    )
)
def test_what_stays_is_what_keeping_one_after_the_other_keeps(
    graph: tuple[Sequence[int], set[tuple[int, int]], list[bool]],
) -> None:
    ranks, edges, fixed = graph
    pairs = sorted({(min(edge), max(edge)) for edge in edges if edge[0] != edge[1]})
    first, second = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    near = Neighbours(
        values=np.arange(len(ranks)).astype(np.uint64),
        place=np.arange(len(ranks)),
        first=first,
        second=second,
    )

    stays, kept_for = _independent(near, np.array(ranks), np.array(fixed))

    expected = {node for node, held in enumerate(fixed) if held}
    for node in sorted(range(len(ranks)), key=lambda node: ranks[node]):
        if not any({(node, other), (other, node)} & set(pairs) for other in expected):
            expected.add(node)
    assert set(np.flatnonzero(stays).tolist()) == expected
    for node in set(range(len(ranks))) - expected:
        assert kept_for[node] in expected
        assert {(node, kept_for[node]), (kept_for[node], node)} & set(pairs)


def test_the_labelled_and_larger_image_stays(store: Store) -> None:
    rows = [
        Row(name="large", boxes=None, hashed=HASH, size=(500, 500)),
        Row(name="labelled", boxes=["cat"], hashed=HASH ^ 1),
        Row(name="copy", boxes=None, hashed=HASH ^ 1),
        Row(name="other", hashed=HASH ^ 0xFFFF),
        Row(name="flat", hashed=0),
        Row(name="flat too", hashed=0),
    ]
    put(store, "all", rows)

    commit = remove_duplicates(store, "all", "out", op_id=OPERATIONS[1])

    assert names(store.read("out")) == ["flat", "flat too", "labelled", "other"]
    assert commit.operation.parameters == {"distance": 4, "against": [], "removed": 2}
    found = find_duplicates(store, store.read("all"), distance=0)
    assert [one.hex() for one in found.originals.to_pylist()] == [rows[1].id.hex()]


def test_images_of_another_version_are_taken_out(store: Store) -> None:
    put(store, "old", [Row(name="same", hashed=HASH), Row(name="old", hashed=HASH ^ 0xFF00)])
    new = [Row(name="same", boxes=["cat"], hashed=HASH), Row(name="like", hashed=HASH ^ 0xFF01)]
    put(store, "new", [*new, Row(name="new", hashed=HASH ^ 0xFF000000)])

    remove_duplicates(store, "new", "exact", distance=None, against=["old"], op_id=OPERATIONS[1])
    remove_duplicates(store, "new", "near", against=["old"], op_id=OPERATIONS[1])

    assert names(store.read("exact")) == ["like", "new"]
    assert names(store.read("near")) == ["new"]


def test_hashes_are_computed_once_and_kept(tmp_path: Path, store: Store) -> None:
    files = {f"images/{n}.png": picture(n) for n in range(3)}
    files["images/again.jpg"] = picture(0, 96, "JPEG", quality=70)
    import_dataset(store, folder_of(tmp_path / "in", files), "all", op_id=OPERATIONS[1])

    remove_duplicates(store, "all", "out", op_id=OPERATIONS[2])

    out = store.read("out")
    column = out.assets(columns=["perceptual_hash"])["perceptual_hash"]
    assert (out.stats.assets, column.null_count) == (3, 0)
    assert not find_duplicates(store, out).hashed.computed.any()  # type: ignore[union-attr]
    assert find_duplicates(store, store.read("all")).hashed.computed.all()  # type: ignore[union-attr]


def test_a_blob_that_does_not_decode_is_named(store: Store) -> None:
    digest = store.put_blob(b"not an image")
    table = asset_table([Row(name="x")]).set_column(0, "asset_id", [[bytes.fromhex(digest)]])
    with store.edit(
        "all", op_id=OPERATIONS[3], operation=Operation(kind="import"), message="Broken"
    ) as edit:
        edit.put_assets(table)

    with pytest.raises(StoreError, match=digest) as caught:
        remove_duplicates(store, "all", "out", op_id=OPERATIONS[1])
    assert caught.value.code == "unreadable-image"
    assert not store.branch("out").exists


def test_leakage_names_images_and_groups_that_cross_splits(store: Store) -> None:
    rows = [
        Row(name="train", split="train", hashed=HASH, group="street"),
        Row(name="train 2", split="train", hashed=HASH, group="yard"),
        Row(name="val", split="val", hashed=HASH ^ 0b11, group="street"),
        Row(name="test", split="test", hashed=HASH ^ 0b11, group="yard"),
        Row(name="test alone", split="test", hashed=HASH ^ 0xFFFFFF),
        Row(name="none", hashed=HASH),
    ]
    version = put(store, "all", rows)

    leakage = find_leakage(store, [(version, None)])

    found = {(leak.split, leak.asset_id, leak.like_split, leak.distance) for leak in leakage.leaks}
    assert found == {
        ("val", rows[2].id, "train", 2),
        ("test", rows[3].id, "train", 2),
        ("test", rows[3].id, "val", 0),
    }
    assert leakage.groups == ("street", "yard")


def test_leakage_between_versions_finds_the_same_image(store: Store) -> None:
    train = put(store, "a", [Row(name="one", hashed=0), Row(name="two", hashed=HASH)])
    val = put(store, "b", [Row(name="one", hashed=0), Row(name="three", hashed=HASH ^ 1)])

    exact = find_leakage(store, [(train, "train"), (val, "val")], distance=None)
    near = find_leakage(store, [(train, "train"), (val, "val")])

    assert [leak.asset_id for leak in exact.leaks] == [Row(name="one").id]
    assert {leak.asset_id for leak in near.leaks} == {Row(name=n).id for n in ("one", "three")}


def test_a_hash_on_one_side_only_is_no_conflict(store: Store) -> None:
    put(store, "hashed", [Row(name="one", hashed=HASH)])
    put(store, "plain", [Row(name="one"), Row(name="two")])

    merge(store, ["hashed", "plain"], "both", op_id=OPERATIONS[1])

    hashes = store.read("both").assets(columns=["perceptual_hash"])["perceptual_hash"]
    assert sorted(hashes.to_pylist(), key=str) == [HASH, None]
