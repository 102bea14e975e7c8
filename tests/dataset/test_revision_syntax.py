"""Revisions as people write them."""

from __future__ import annotations

import pytest

from mir_ops.dataset.revisions import Source, parse_destination, parse_source, parse_sources
from mir_ops.errors import InvalidInputError


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
