"""When a project starts rounds by itself, and who hears of it: checked on every write."""

from __future__ import annotations

from typing import Any

import pytest

from mir_ops.catalog.cron import checked_cron
from mir_ops.catalog.projects import read_project
from mir_ops.errors import InvalidInputError

PROJECT: dict[str, Any] = {
    "name": "street",
    "classes": ["car"],
    "sources": {"training": "/t", "validation": "/v", "pool": "/p"},
    "executor": {"name": "sample"},
}


@pytest.mark.parametrize(
    "text", ["0 3 * * 1", "*/15 0-6,22 1-31/2 jan-mar MON,fri", "59 23 31 12 7", "0   3 * *  sun"]
)
def test_a_cron_expression_is_kept_with_single_blanks(text: str) -> None:
    assert checked_cron(text) == " ".join(text.split())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("@daily", "`@daily` is not five fields"),
        ("0 3 * *", "is not five fields"),
        ("60 3 * * *", "`60` is no minute: 0 to 59"),
        ("0 3-1 * * *", "`3-1` is no hour"),
        ("0 3 0 * *", "`0` is no day of the month"),
        ("0 3 * 13 *", "`13` is no month"),
        ("0 3 * * moon", "`moon` is no day of the week"),
        ("*/0 * * * *", "`*/0` is no minute"),
        ("1,,2 * * * *", "`` is no minute"),
        ("٣ * * * *", "is no minute"),
        ("-1 * * * *", "`-1` is no minute"),
    ],
)
def test_a_cron_expression_that_is_none_names_its_field(text: str, said: str) -> None:
    with pytest.raises(InvalidInputError, match=r"`schedule\.cron`") as caught:
        read_project({**PROJECT, "schedule": {"cron": text}})

    assert said in str(caught.value)


def test_a_schedule_a_promotion_and_who_is_told_are_kept() -> None:
    said = {
        "schedule": {"cron": "0 3 * * 1", "new_data": True, "new_labels": 50, "continuous": True},
        "tags": ["night shift"],
        "owners": ["vision"],
        "promote": "production",
        "approve_model": True,
        "notify": ["team"],
    }

    kept = read_project({**PROJECT, **said}).to_mapping()

    assert {name: kept[name] for name in said} == said


@pytest.mark.parametrize("tag", ["", " x", "a,b", "a\nb", "x" * 64])
def test_a_tag_is_one_short_line(tag: str) -> None:
    with pytest.raises(InvalidInputError, match=r"`tags\.0`"):
        read_project({**PROJECT, "tags": [tag]})
