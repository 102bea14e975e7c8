"""Merge, filter, sample and subset: what stays, where it comes from, and once only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from dataset_sources import OPERATIONS, box, folder_of, image, voc

from mir_ops.dataset import (
    Conditions,
    Sampling,
    filter_dataset,
    fuse,
    import_dataset,
    merge,
    remove_duplicates,
    sample,
    split_dataset,
    statistics,
    subset,
)
from mir_ops.dataset.merging import foretell
from mir_ops.errors import ConflictError, InvalidInputError
from mir_ops.store import Commit, Store
from mir_ops.taxonomy import ClassName, Taxonomy

CAT = Conditions(include_classes=("cat",))


@pytest.fixture
def filled(tmp_path: Path, store: Store) -> Store:
    """`one`: 0 cat, 1 cat and dog, 2 dog, 3 nothing, 4 not labelled; `two`: 3 a cat, 4 to 6."""
    cat, dog = box("cat", 0, 0, 9, 9), box("dog", 5, 5, 9, 9)
    labels = {0: voc(cat), 1: voc(cat, dog), 2: voc(dog), 3: voc()}
    one = {f"images/{n}.jpg": image(n) for n in range(5)}
    one |= {f"gt/{n}.xml": data for n, data in labels.items()}
    two = {f"images/{n}.jpg": image(n) for n in range(3, 7)} | {"gt/3.xml": voc(cat)}
    import_dataset(store, folder_of(tmp_path / "1", one), "one", op_id=OPERATIONS[0])
    import_dataset(store, folder_of(tmp_path / "2", two), "two", op_id=OPERATIONS[1])
    return store


def names(store: Store, rev: str) -> list[str]:
    column = store.read(rev).assets(columns=["source_names"])["source_names"]
    return sorted(Path(found[0]).stem for found in column.to_pylist())


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ([], [], ["0", "1", "2", "3", "4"]),
        (["Cat"], [], ["0", "1"]),
        (["cat", " dog "], [], ["0", "1", "2"]),
        ([], ["dog"], ["0", "3", "4"]),
        (["cat"], ["dog"], ["0"]),
        (["kitten"], ["dog"], ["0"]),
    ],
)
def test_filter_keeps_any_included_and_no_excluded_class(
    filled: Store, include: list[str], exclude: list[str], expected: list[str]
) -> None:
    aliases = Taxonomy((ClassName(0, "cat", ("kitten",)),))

    filter_dataset(
        filled,
        "one",
        "out",
        Conditions(include_classes=tuple(include), exclude_classes=tuple(exclude)),
        taxonomy=aliases,
        op_id=OPERATIONS[2],
    )

    assert names(filled, "out") == expected


def test_filter_leaves_the_other_boxes_of_a_kept_image(filled: Store) -> None:
    commit = filter_dataset(filled, "one", "out", CAT, op_id=OPERATIONS[2])

    assert commit.stats.layers["ground_truth"].classes == {0: 2, 1: 1}
    assert commit.operation.inputs == (filled.resolve("one").id,)


def test_filter_looks_where_it_is_told(filled: Store) -> None:
    filter_dataset(
        filled,
        "one",
        "out",
        Conditions(include_classes=("cat",), annotation_source="pred"),
        op_id=OPERATIONS[2],
    )

    assert names(filled, "out") == []


def test_filter_names_a_class_that_is_close(filled: Store) -> None:
    with pytest.raises(InvalidInputError) as caught:
        filter_dataset(
            filled, "one", "out", Conditions(include_classes=("cats",)), op_id=OPERATIONS[2]
        )

    assert str(caught.value) == "No class is called `cats`"
    assert caught.value.hint == "Did you mean `cat`?"
    assert not filled.branch("out").exists


def test_sampling_depends_on_the_seed_alone(filled: Store) -> None:
    def drawn(branch: str, seed: int) -> list[str]:
        sample(filled, "one", branch, Sampling(count=2, seed=seed), op_id=OPERATIONS[2])
        return names(filled, branch)

    assert drawn("a", 1) == drawn("b", 1)
    assert len({tuple(drawn(f"s{seed}", seed)) for seed in range(2, 12)}) > 1


@pytest.mark.parametrize(
    ("amount", "kept"),
    [({"count": 0}, 0), ({"count": 99}, 5), ({"rate": 0.5}, 2), ({"rate": 1.0}, 5)],
)
def test_sampling_takes_as_many_as_asked(
    filled: Store, amount: dict[str, float], kept: int
) -> None:
    commit = sample(filled, "one", "out", Sampling(**amount), op_id=OPERATIONS[2])  # type: ignore[arg-type]

    assert commit.stats.assets == kept


@pytest.mark.parametrize("amount", [{}, {"count": 1, "rate": 0.1}, {"count": -1}, {"rate": 1.1}])
def test_sampling_refuses_a_senseless_amount(amount: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError):
        Sampling(**amount)  # type: ignore[arg-type]


def test_subset_keeps_the_named_images_and_wants_them_all(filled: Store) -> None:
    ids = filled.read("one").asset_ids()

    commit = subset(filled, "one", "out", asset_ids=ids.slice(1, 2), op_id=OPERATIONS[2])

    assert commit.stats.assets == 2
    foreign = pa.array([bytes(32)], ids.type)
    with pytest.raises(InvalidInputError, match="1 images are not in `one`"):
        subset(filled, "one", "out", asset_ids=foreign, op_id=OPERATIONS[3])


def test_merge_unites_and_types_the_sources(filled: Store) -> None:
    commit = merge(filled, ["tr:one", "va:two"], "out", strategy="host", op_id=OPERATIONS[2])

    assert names(filled, "out") == ["0", "1", "2", "3", "4", "5", "6"]
    assert dict(commit.stats.splits) == {"train": 5, "val": 2}
    assert commit.stats.layers["ground_truth"].classes == {0: 2, 1: 2}  # 3 is host's: nothing


def test_merge_with_guest_takes_the_guests_side(filled: Store) -> None:
    commit = merge(filled, ["one", "two"], "out", strategy="guest", op_id=OPERATIONS[2])

    assert commit.stats.layers["ground_truth"].classes == {0: 3, 1: 2}


def test_merge_stops_at_an_image_that_differs(filled: Store) -> None:
    with pytest.raises(ConflictError):
        merge(filled, ["one", "two"], "out", op_id=OPERATIONS[2])

    assert not filled.branch("out").exists


def test_merge_leaves_out_the_images_of_excluded_versions(filled: Store) -> None:
    merge(filled, ["one"], "out", exclude=["two"], op_id=OPERATIONS[2])

    assert names(filled, "out") == ["0", "1", "2"]


def test_every_operation_commits_once(filled: Store) -> None:
    ids = filled.read("one").asset_ids().slice(0, 1)
    acts: list[Callable[[str], Commit]] = [
        lambda op: merge(filled, ["one"], "m", op_id=op),
        lambda op: filter_dataset(filled, "one", "f", Conditions(), op_id=op),
        lambda op: sample(filled, "one", "s", Sampling(rate=0.5), op_id=op),
        lambda op: subset(filled, "one", "u", asset_ids=ids, op_id=op),
        lambda op: fuse(filled, ["one"], "x", conditions=CAT, op_id=op),
        lambda op: split_dataset(filled, "one", "p", counts={"val": 2}, op_id=op),
        lambda op: remove_duplicates(filled, "one", "d", op_id=op),
    ]

    for op_id, act in zip(OPERATIONS, acts, strict=False):
        assert act(op_id).id == act(op_id).id


def test_statistics_count_by_class_split_and_format(filled: Store) -> None:
    numbers = statistics(filled.read("one"))

    assert numbers["images"] == 5
    assert numbers["splits"] == {"training": 0, "validation": 0, "test": 0, "others": 5}
    assert numbers["formats"] == {"image/jpeg": 5}
    assert (numbers["width"], numbers["height"]) == ([64, 64], [48, 48])
    layer = numbers["layers"]["ground_truth"]
    assert (layer["images"], layer["rows"]) == (4, 4)
    assert layer["classes"]["cat"] == {"boxes": 2, "images": 2}


@pytest.mark.parametrize("sampling", [None, Sampling(count=1), Sampling(rate=0.5, seed=4)])
@pytest.mark.parametrize("conditions", [CAT, Conditions(), Conditions(exclude_classes=("cat",))])
@pytest.mark.parametrize("sources", [["one"], ["tr:one", "va:two"]])
def test_foretold_counts_are_those_of_the_commit(
    filled: Store, sources: list[str], conditions: Conditions, sampling: Sampling | None
) -> None:
    asked = {"strategy": "guest", "conditions": conditions, "sampling": sampling}

    foretold = foretell(filled, sources, **asked)  # type: ignore[arg-type]

    commit = fuse(filled, sources, "out", op_id=OPERATIONS[2], **asked)  # type: ignore[arg-type]
    assert foretold == commit.stats
