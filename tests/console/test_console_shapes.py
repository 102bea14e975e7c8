from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest
from console_data import Client, Shown

from mir_ops.console.app import create_app
from mir_ops.console.images import gallery
from mir_ops.console.images.gallery import Card, Selection, Shape, read_cards
from mir_ops.console.rendering import render
from mir_ops.console.report import Picture
from mir_ops.store import Operation, Store

BOX = Shape(
    class_id=1, name="cat", confidence=None, kind="box",
    x=10, y=20, w=30, h=40, angle=0, rings=(),
)  # fmt: skip
CARD = Card(
    asset_id="0" * 64, media_type="image/png", width=100, height=100, byte_size=1, split=None,
    name="a.png", labelled=True, truths=1, predictions=0, shapes=(BOX,),
)  # fmt: skip


def draw(*shapes: Shape) -> str:
    """The overlay as the report has it."""
    from jinja2 import Environment

    from mir_ops.console.rendering import _environment

    environment: Environment = _environment()
    module = environment.get_template("parts.html").module
    card = replace(CARD, shapes=shapes)
    return str(module.pictures([Picture(card=card, source="")]))  # type: ignore[attr-defined]


def test_a_rotated_box_turns_about_its_centre() -> None:
    assert 'transform="rotate(30 25.0 40.0)"' in draw(replace(BOX, angle=30))


def test_a_polygon_is_drawn_ring_by_ring() -> None:
    html = draw(replace(BOX, kind="polygon", rings=("1 2 3 4 5 6", "7 8 9 1 2 3")))

    assert html.count('<polygon points="1 2 3 4 5 6"/>') == 1
    assert html.count('<polygon points="7 8 9 1 2 3"/>') == 1


def test_a_name_at_the_edge_stays_inside_the_image() -> None:
    html = draw(replace(BOX, x=98, y=0, w=2, h=2, name="a long name"))

    assert '<rect x="63.5"' in html


def test_a_crowded_image_says_what_is_not_drawn(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery, "MOST_SHAPES", 1)
    version = shown.store.read(shown.commit.id)
    ids = pa.array([shown.asset_ids[5]], pa.binary(32))

    (card,) = read_cards(version, ids, Selection(layers=("ground_truth",)))

    assert (card.truths, len(card.shapes), card.hidden) == (2, 1, 1)


def test_an_empty_version_has_a_page_of_its_own() -> None:
    store = Store.open("memory:", create=True)
    with store.edit(
        "empty", op_id="0" * 64, operation=Operation(kind="import"), message="", project="p"
    ):
        pass
    from mir_ops.console.sources import Sources

    client = Client(create_app(lambda: Sources(store)))
    commit = store.branch("empty").find_tip()
    assert commit is not None

    response = client.get(f"/projects/p/versions/{commit.id}/images")

    assert response.status_code == 200
    assert "No image passes these filters" in response.text


def test_every_value_that_a_template_lacks_is_an_error() -> None:
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError):
        render("error.html", root="./", status=404)
