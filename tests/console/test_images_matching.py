"""Filters of images: alone and together, against the same asked row by row."""

from __future__ import annotations

from typing import Any

import pytest
from console_data import HOSTILE
from hypothesis import given, settings
from hypothesis import strategies as st
from images_data import MARKED, MODEL, PICKED, Street

from mir_ops.console.images.indexes import Indexes
from mir_ops.console.images.matching import matching_places
from mir_ops.console.images.selecting import Selection
from mir_ops.evaluation.marks import MISSED

BOTH = ("ground_truth", MODEL)


def found(street: Street, **asked: Any) -> list[int]:
    selection = Selection(**({"layers": BOTH} | asked))
    return matching_places(Indexes(), street.version, selection).tolist()


def by_rows(street: Street, chosen: Selection) -> set[int]:
    """The same without columns, a row at a time."""
    version = street.version
    assets = version.assets().to_pylist()
    kept = set()
    boxes: dict[bytes, list[dict[str, Any]]] = {}
    missed = {
        (row["asset_id"], int(key[len(MISSED) :]))
        for row in version.layer(MARKED).to_pylist()
        for key, _ in row["components"]
        if key.startswith(MISSED)
    }
    for layer in chosen.layers or ():
        for row in version.layer(layer).to_pylist():
            fn = layer == "ground_truth" and (row["asset_id"], row["annotation_id"]) in missed
            mark = "fn" if fn else dict(row["tags"] or ()).get("eval_mark")
            boxes.setdefault(row["asset_id"], []).append(row | {"mark": mark})
    scores = {row["asset_id"]: row for row in version.layer(PICKED).to_pylist()}
    for place, asset in enumerate(assets):
        said = scores[asset["asset_id"]]
        asks_boxes = chosen.class_id is not None or chosen.tags or chosen.mark
        asks_boxes = asks_boxes or chosen.side_from is not None or chosen.confidence_to is not None
        if chosen.split and (asset["split"] or "none") != chosen.split:
            continue
        if not all(_has(asset["attributes"], one) for one in chosen.attributes):
            continue
        if asks_boxes and not any(_passes(one, chosen) for one in boxes.get(asset["asset_id"], ())):
            continue
        if (chosen.picked or chosen.reason) and said["rank"] is None:
            continue
        if chosen.reason and chosen.reason.lower() not in said["reason"].lower():
            continue
        if chosen.score_from is not None and said["score"] < chosen.score_from:
            continue
        kept.add(place)
    return kept


def _has(pairs: Any, wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    return any(one == key and (not equals or other == value) for one, other in pairs or ())


def _passes(row: dict[str, Any], chosen: Selection) -> bool:
    confidence = row.get("confidence")
    side = (row["w"] * row["h"]) ** 0.5
    return (
        (chosen.class_id is None or row["class_id"] == chosen.class_id)
        and all(_has(row["tags"], tag) for tag in chosen.tags)
        and (chosen.mark is None or row["mark"] == chosen.mark)
        and (confidence is None or confidence >= chosen.confidence)
        and (
            chosen.confidence_to is None
            or (confidence is not None and confidence <= chosen.confidence_to)
        )
        and (chosen.side_from is None or side >= chosen.side_from)
    )


def perhaps(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([None, *values])


@settings(max_examples=60)
@given(data=st.data())
def test_filters_together_keep_what_each_row_passes(street: Street, data: st.DataObject) -> None:
    chosen = Selection(
        layers=data.draw(st.sampled_from([BOTH, BOTH[:1], BOTH[1:], ()])),
        class_id=data.draw(perhaps(*street.classes.values())),
        split=data.draw(perhaps("train", "val", "none")),
        attributes=data.draw(st.sampled_from([(), ("dark",), ("weather=rain",), ("weather=x",)])),
        tags=data.draw(st.sampled_from([(), ("by",), (f"by={HOSTILE}",), ("eval_mistake",)])),
        confidence=data.draw(st.sampled_from([0.0, 0.25, 0.6])),
        confidence_to=data.draw(perhaps(0.31, 0.7)),
        side_from=data.draw(perhaps(0.0, 12.0, 31.0)),
        mark=data.draw(perhaps("tp", "fp", "fn")),
        picked=data.draw(st.booleans()),
        reason=data.draw(perhaps("UNCERTAIN", "<script>")),
        score_from=data.draw(perhaps(0.5, 0.95)),
    )
    if chosen.layers == () and chosen.mark is not None:
        return

    places = matching_places(Indexes(), street.version, chosen).tolist()

    assert set(places) == by_rows(street, chosen)
    assert len(set(places)) == len(places)


def test_what_mining_picked_comes_first_and_then_ids_ascend(street: Street) -> None:
    places = found(street)

    assert places == [*range(99, 89, -1), *range(90)]


def test_an_order_by_scores_ends_with_what_has_none(street: Street) -> None:
    scores = street.version.layer(MARKED)
    mistakes = dict(zip(scores["asset_id"].to_pylist(), scores["score"].to_pylist(), strict=True))

    places = found(street, sort=MARKED)
    rising = found(street, sort=MARKED, rising=True)

    told = [mistakes.get(street.asset_ids[place], -1) for place in places]
    assert told == sorted(told, reverse=True)
    assert told[60:] == [-1] * 40
    assert [mistakes.get(street.asset_ids[place]) for place in rising][:60] == sorted(
        mistakes.values()
    )


@pytest.mark.parametrize(("mark", "layer"), [("fp", MODEL), ("tp", MODEL), ("fn", "ground_truth")])
def test_marks_are_those_of_the_layer_they_are_of(street: Street, mark: str, layer: str) -> None:
    other = next(name for name in BOTH if name != layer)

    assert found(street, mark=mark, layers=(layer,)) == found(street, mark=mark)
    assert found(street, mark=mark, layers=(other,)) == []


def test_wrong_people_are_found_by_class_and_mark(street: Street) -> None:
    places = found(street, class_id=street.classes["person"], mark="fp")

    assert places == [place for place in range(60) if place % 4 == 0]


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ({"arm": "mined"}, 5),
        ({"arm": "random"}, 5),
        ({"arm": "both"}, 0),
        ({"sort": "scores:nothing", "score_from": 0.1}, 0),
        ({"sort": "scores:nothing"}, 100),
        ({"tags": ("nothing",)}, 0),
        ({"split": "'"}, 0),
        ({"side_to": 30.0, "side_from": 30.0, "layers": ("ground_truth",)}, 81),
    ],
)
def test_filters_count(street: Street, asked: dict[str, Any], count: int) -> None:
    assert len(found(street, **asked)) == count


def test_versions_share_what_is_kept_of_a_table(street: Street) -> None:
    indexes = Indexes()
    one, other = (street.store.read(commit) for commit in street.versions[2:4])

    assert indexes.layer(one, "ground_truth") is indexes.layer(other, "ground_truth")
    assert indexes.layer(one, "ground_truth") is not indexes.layer(street.version, "ground_truth")
