"""Models are given titles, deleted and restored; a name never means one that was deleted."""

from __future__ import annotations

import pytest

from mir_ops.catalog import Catalog, Package
from mir_ops.errors import ConflictError, InvalidInputError, NotFoundError

ID = "4fd01be3" + "0" * 56


@pytest.fixture
def package(catalog: Catalog) -> Package:
    return add(catalog)


def add(catalog: Catalog) -> Package:
    return catalog.packages.add(
        model_id=ID,
        package="p",
        classes=("one",),
        object_type=2,
        stages={"first": {"mAP": 0.3}, "best": {"mAP": 0.6}},
        best_stage="best",
        origin={},
    )


def test_a_model_is_given_a_title_and_another_best_stage(
    catalog: Catalog, package: Package
) -> None:
    assert (package.title, package.description, package.deleted_at) == ("", "", None)

    changed = catalog.packages.change(ID, title=" Night 2 ", best_stage="first")

    assert (changed.title, changed.description, changed.best_stage) == ("Night 2", "", "first")
    changed = catalog.packages.change(ID, description="For rain")
    assert (changed.title, changed.description) == ("Night 2", "For rain")
    assert catalog.packages.find("4fd01be3") == changed


def test_a_stage_that_is_not_there_cannot_be_the_best(catalog: Catalog, package: Package) -> None:
    with pytest.raises(NotFoundError) as caught:
        catalog.packages.change(package.model_id, title="x", best_stage="last")

    assert str(caught.value) == "Model `4fd01be30000` has no stage `last`"
    assert catalog.packages.list() == [package]


def test_a_title_has_a_bound(catalog: Catalog, package: Package) -> None:
    with pytest.raises(InvalidInputError) as caught:
        catalog.packages.change(package.model_id, title="x" * 101)

    assert str(caught.value) == "A model's title has 100 characters at most, this one 101"


def test_a_deleted_model_is_in_no_list_until_it_is_restored(
    catalog: Catalog, package: Package
) -> None:
    gone = catalog.packages.delete(ID)

    assert gone.deleted_at is not None
    assert catalog.packages.list() == []
    assert catalog.packages.list(deleted=True) == [gone]
    assert catalog.packages.delete(ID) == gone
    with pytest.raises(ConflictError, match="Model `4fd01be30000` was deleted"):
        catalog.packages.promote("production", ID, "best")
    assert catalog.packages.restore(ID) == package
    assert catalog.packages.list() == [package]


def test_a_promoted_model_cannot_be_deleted(catalog: Catalog, package: Package) -> None:
    catalog.packages.promote("production", ID, "best")

    with pytest.raises(ConflictError) as caught:
        catalog.packages.delete(ID)

    assert str(caught.value) == "`production` is model `4fd01be30000`, which cannot be deleted"
    assert catalog.packages.list() == [package]


def test_a_deleted_model_that_comes_again_is_back(catalog: Catalog, package: Package) -> None:
    catalog.packages.change(ID, title="Night 2")
    catalog.packages.delete(ID)

    assert add(catalog).title == "Night 2"
    assert [each.model_id for each in catalog.packages.list()] == [package.model_id]


def test_a_model_that_nobody_knows_is_not_found(catalog: Catalog) -> None:
    for call in (catalog.packages.delete, catalog.packages.restore, catalog.packages.change):
        with pytest.raises(NotFoundError, match="No model"):
            call("f" * 64)
    with pytest.raises(NotFoundError, match="No model"):
        catalog.packages.promote("production", "f" * 64, "best")
