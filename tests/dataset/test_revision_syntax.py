"""Revisions as people write them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mir_ops.dataset.revisions import Source, parse_destination, parse_source, parse_sources
from mir_ops.errors import InvalidInputError, MirError
from mir_ops.store import Store

# What people type, what shells and encodings make of it, and names that are too long.
REVISIONS = st.one_of(
    st.text(max_size=40),
    st.text(st.sampled_from("abtrvaeHEAD@V0123:;/.%~ \\-\n\x00\udcff中"), max_size=30),
    st.lists(st.sampled_from(["tr:", "b", "@", "V1", "V", "HEAD", ";", ":", "0" * 64])).map(
        "".join
    ),
    st.integers(0, 3000).map(lambda length: "é" * length),
)


@pytest.mark.parametrize(
    ("text", "rev", "split"),
    [
        ("tr:b@c", "b@c", "train"),
        ("va:b", "b", "val"),
        ("te:b@", "b", "test"),
        ("b@c", "b@c", None),
        (":b@c", "b@c", None),
        ("b", "b", None),
        (":b", "b", None),
        ("b@", "b", None),
        (":b@", "b", None),
    ],
)
def test_a_source_has_a_split_a_branch_and_a_tid(text: str, rev: str, split: str | None) -> None:
    assert parse_source(text) == Source(rev=rev, split=split)


@pytest.mark.parametrize("text", ["", ":", "@", ":@", "a;b;c", "a:b:c", "a@b@c", "a:b@c", "@c"])
def test_what_is_no_single_revision_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_source(text)


def test_sources_are_joined_by_semicolons() -> None:
    assert parse_sources("tr:a@x; va:b;") == [
        Source(rev="a@x", split="train"),
        Source(rev="b", split="val"),
    ]
    with pytest.raises(InvalidInputError, match="No revision is given"):
        parse_sources(" ; ")


def test_a_destination_has_a_tag_when_it_has_a_tid() -> None:
    assert (parse_destination("p/a@x").branch, parse_destination("p/a@x").tag) == ("p/a", "p/a@x")
    assert parse_destination("a").tag is None
    with pytest.raises(InvalidInputError, match="cannot have a split"):
        parse_destination("tr:a@x")


def read_or_refuse(store: Store, text: str) -> None:
    """Whatever is typed names commits or is refused with a sentence."""
    with suppress(MirError):
        for source in parse_sources(text):
            store.resolve(source.rev)
    with suppress(MirError):
        destination = parse_destination(text)
        store.branch(destination.branch)
        if destination.tag:
            store.create_tag(destination.tag, "0" * 64)


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store.open(tmp_path_factory.mktemp("store").as_uri(), create=True)


@given(REVISIONS)
def test_anything_typed_is_a_revision_or_refused(empty_store: Store, text: str) -> None:
    read_or_refuse(empty_store, text)


@pytest.mark.long
@given(REVISIONS)
@settings(max_examples=10_000)
def test_ten_thousand_revisions(empty_store: Store, text: str) -> None:
    read_or_refuse(empty_store, text)
