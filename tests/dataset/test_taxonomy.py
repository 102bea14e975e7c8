"""Classes: names, aliases, ids."""

from __future__ import annotations

import pytest

from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.taxonomy import ClassName, Taxonomy


def test_names_and_aliases_resolve_without_case() -> None:
    taxonomy = Taxonomy((ClassName(7, "TV", ("Television",)), ClassName(2, "cat")))

    assert (taxonomy.names, taxonomy.ids) == (["cat", "tv"], [2, 7])
    assert taxonomy.id_of(" television ") == taxonomy.id_of("tv") == 7
    assert taxonomy.id_of("dog") is None
    assert taxonomy.name_of(2) == "cat"
    with pytest.raises(NotFoundError, match="No class has the id 3"):
        taxonomy.name_of(3)


def test_a_name_is_used_once() -> None:
    with pytest.raises(InvalidInputError, match="The class name `cat` is used twice"):
        Taxonomy((ClassName(0, "cat"), ClassName(1, "dog", ("Cat",))))
    with pytest.raises(InvalidInputError, match="The class id 0 is used by `cat` and `dog`"):
        Taxonomy((ClassName(0, "cat"), ClassName(0, "dog")))


def test_joining_unites_aliases_and_keeps_a_name() -> None:
    one = Taxonomy((ClassName(0, "tv", ("telly",)),))

    joined = one.joined(Taxonomy((ClassName(0, "television", ("tube",)), ClassName(1, "cat"))))

    assert joined.names == ["tv", "cat"]
    assert {joined.id_of(name) for name in ("tv", "telly", "television", "tube")} == {0}
    with pytest.raises(InvalidInputError, match="The class name `cat` is used twice"):
        joined.joined(Taxonomy((ClassName(2, "cat"),)))


def test_an_alias_gives_way_to_the_class_that_has_the_name() -> None:
    bikes = Taxonomy((ClassName(0, "bike", ("bicycle",)),))
    known = Taxonomy((ClassName(0, "bike", ("velo",)), ClassName(1, "bicycle")))

    assert bikes.over(known) == Taxonomy((ClassName(0, "bike"), ClassName(1, "bicycle")))
    assert bikes.joined(known).id_of("bicycle") == 1
    assert known.joined(bikes) == known


def test_what_is_declared_replaces_what_was() -> None:
    declared = Taxonomy((ClassName(3, "television", ("tv",)),))

    over = declared.over(Taxonomy((ClassName(3, "tv", ("telly",)), ClassName(1, "cat"))))

    assert over == Taxonomy((ClassName(1, "cat"), ClassName(3, "television", ("tv",))))
