"""The graph of versions: lanes that meet where the commits do."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from mir_ops.console.versions.graph import LANES, Row, drawing, rows

Links = list[tuple[str, list[str]]]


def test_a_line_of_versions_stays_in_one_lane() -> None:
    found = rows([("c", ["b"]), ("b", ["a"]), ("a", [])], range(3))

    assert [row.lane for row in found] == [0, 0, 0]
    assert [(row.ending, row.beginning) for row in found] == [((), (0,)), ((0,), (0,)), ((0,), ())]


def test_a_merge_opens_a_lane_that_ends_where_the_branches_parted() -> None:
    links: Links = [("m", ["b", "c"]), ("c", ["a"]), ("b", ["a"]), ("a", [])]

    found = rows(links, range(4))

    assert [row.lane for row in found] == [0, 1, 0, 0]
    assert found[0].beginning == (0, 1)
    assert found[1].passing == (0,)
    assert found[3].ending == (0, 1)


def test_a_page_in_the_middle_knows_the_lanes_that_pass() -> None:
    links: Links = [("m", ["b", "c"]), ("c", ["a"]), ("b", ["a"]), ("a", [])]

    assert rows(links, range(2, 3)) == [rows(links, range(4))[2]]


def test_lanes_beyond_the_last_are_drawn_in_it() -> None:
    links: Links = [(f"tip {number}", ["root"]) for number in range(40)] + [("root", [])]

    found = rows(links, range(41))

    assert max(row.lanes for row in found) <= LANES
    assert all("<path" in str(drawing(row, LANES)) for row in found[1:])


@st.composite
def histories(draw: st.DrawFn) -> Links:
    count = draw(st.integers(1, 25))
    links: Links = []
    for number in range(count):
        later = range(number + 1, count)
        chosen = draw(st.lists(st.sampled_from(later), max_size=3, unique=True)) if later else []
        links.append((str(number), [str(each) for each in chosen]))
    return links


@given(histories())
def test_every_line_goes_on_in_the_next_row(links: Links) -> None:
    found = rows(links, range(len(links)))

    for above, below in pairwise(found):
        assert _below(above) == _above(below)
    assert _below(found[-1]) == set()


def test_a_drawing_is_plain_svg() -> None:
    text = str(drawing(Row(lane=1, passing=(0,), ending=(1,), beginning=(1, 2), lanes=3), 3))

    assert re.fullmatch(r'<svg class="lanes"[^>]*>(<(path|circle) [^<>]*/>)+</svg>', text)
    assert "style=" not in text


def _below(row: Row) -> set[int]:
    return {*row.passing, *row.beginning}


def _above(row: Row) -> set[int]:
    return {*row.passing, *row.ending}
