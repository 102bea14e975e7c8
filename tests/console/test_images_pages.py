from __future__ import annotations

import io
import re
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from console_data import HOSTILE, Client
from images_data import MARKED, MODEL, PROJECT, SIDE, Street
from PIL import Image

from mir_ops.console.app import create_app
from mir_ops.console.images import files
from mir_ops.console.images.history import history_of
from mir_ops.console.images.lookups import Lookup
from mir_ops.console.images.memory import Memory
from mir_ops.console.sources import Sources
from mir_ops.dataset.merging import merge
from mir_ops.store import Store, Version, segments


@pytest.fixture(scope="module")
def client(street: Street) -> Client:
    sources = street.sources()
    return Client(create_app(lambda: sources))


def cards(html: str) -> list[str]:
    return re.findall(r'class="tile" href="[^"]*/([0-9a-f]{64})', html)


def test_the_grid_is_a_page_of_the_selection(client: Client, street: Street) -> None:
    html = client.get(street.page, params={"split": "val", "attribute": "weather=rain"}).text

    assert "Images 1–25 of 25" in html
    assert cards(html)[:2] == [street.hex(97), street.hex(93)]
    assert '<option value="weather=rain" selected>rain (50)</option>' in html


def test_tiles_are_the_page_without_what_is_around(client: Client, street: Street) -> None:
    page = client.get(street.page, params={"page": "2"}).text
    alone = client.get(street.page, params={"page": "2", "only": "tiles"}).text

    assert cards(alone) == cards(page)
    assert len(cards(alone)) == 48
    assert "<html" not in alone
    assert 'data-page="2" data-pages="3" data-total="100" data-first="49" data-last="96"' in alone


def test_a_second_page_reads_nothing_from_the_store(
    client: Client, street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.get(street.page, params={"class": str(street.classes["car"])})
    for name in ("read_segment", "read_partitions", "read_table"):
        monkeypatch.setattr(segments, name, pytest.fail)
    monkeypatch.setattr(Version, "_read", pytest.fail)

    asked = {"class": str(street.classes["car"]), "page": "2"}
    html = client.get(street.page, params=asked).text

    assert "Images 49–81 of 81" in html


def test_hostile_words_are_text_everywhere(client: Client, street: Street) -> None:
    for asked in (
        {},
        {"tag": HOSTILE},
        {"reason": HOSTILE},
        {"attribute": HOSTILE},
        {"sort": "<i>"},
    ):
        for path in (street.page, f"{street.page}/{street.hex(66)}"):
            html = client.get(path, params=asked).text

            assert "<script>alert" not in html
            assert "<i>" not in html.replace("<i class", "")


def test_tags_that_occur_are_offered(client: Client, street: Street) -> None:
    shown = client.get(street.page, params={"only": "tags"}).text

    pairs = re.findall(r'<option value="([^"]*)">(\d+) box', shown)
    offered = {unescape(tag): int(count) for tag, count in pairs}
    assert offered["by"] == offered[f"by={HOSTILE}"] > 1
    assert "eval_mistake" in offered
    assert "eval_match" not in offered
    assert '<input type="text" name="tag" list="tags"' in client.get(street.page).text


def test_a_reader_of_chinese_reads_of_layers_and_mistakes_in_chinese(
    client: Client, street: Street
) -> None:
    for path in (street.page, f"{street.page}/{street.hex(12)}"):
        html = client.get(path, headers={"Accept-Language": "zh-CN"}).text

        assert "标注" in html
        seen = re.sub(r"<[^>]*>", " ", html)
        assert not re.search("ground truth|prediction|on a box", seen, re.IGNORECASE)


@pytest.mark.parametrize(
    "query",
    [
        "class=x",
        "page=x",
        "page=1.5",
        "confidence=x",
        "side_from=nan",
        "mark=no",
        "arm=no",
        "class=1e99",
    ],
)
def test_a_filter_that_cannot_be_says_so(client: Client, street: Street, query: str) -> None:
    response = client.get(f"{street.page}?{query}")

    name, _, value = query.partition("=")
    assert response.status_code == 400
    said = re.sub(r"`|<[^>]*>", "", response.text)
    assert f"The filter {name} of the address, {value}, is no" in said
    assert "choose it anew on the page" in response.text


def test_an_image_says_all_that_is_known_of_its_boxes(client: Client, street: Street) -> None:
    html = client.get(f"{street.page}/{street.hex(12)}").text

    assert '</i>sign</th><td>ground truth <span class="badge bad">missed</span>' in html
    found = '0.56</span> <span class="badge good">found'
    wrong = '0.30</span> <span class="badge bad">wrong'
    assert f'</i>car</th><td>prediction <span class="nowrap">{found}</span>' in html
    assert f'</i>person</th><td>prediction <span class="nowrap">{wrong}</span>' in html
    assert '<span class="muted">near a box of another class, and not well</span>' in html
    assert "by=&#34;&gt;&lt;script&gt;" in html
    assert "<dt>weather</dt><dd>sun</dd>" in html


def test_the_next_image_is_the_next_of_the_selection(client: Client, street: Street) -> None:
    person = str(street.classes["person"])
    asked = {"class": person, "mark": "fp"}

    html = client.get(f"{street.page}/{street.hex(8)}", params=asked).text

    query = f"?class={person}&amp;mark=fp"
    previous, following = (
        re.search(rf'rel="{rel}" href="[^"]*/([0-9a-f]+)([^"]*)"', html) for rel in ("prev", "next")
    )
    assert previous is not None
    assert following is not None
    assert previous.group(1) == street.hex(4)
    assert following.group(1) == street.hex(12)
    assert query.split("?")[1].split("&amp;")[0] in following.group(2)
    assert "3 of 15" in html


def test_an_image_outside_of_the_selection_has_no_neighbours(
    client: Client, street: Street
) -> None:
    html = client.get(f"{street.page}/{street.hex(8)}", params={"split": "val"}).text

    assert "not in the selection" in html
    assert 'rel="next"' not in html


def test_masks_are_an_image_of_their_own(client: Client, street: Street) -> None:
    html = client.get(f"{street.page}/{street.hex(7)}").text
    response = client.get(f"{street.page}/{street.hex(7)}/masks")

    assert f"{street.hex(7)}/masks" in html
    assert response.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(response.content)) as image:
        alpha = np.asarray(image)[..., 3]
    assert alpha.shape == (SIDE, SIDE)
    assert (alpha[:, : SIDE // 2] > 0).all()
    assert not alpha[:, SIDE // 2 :].any()


def test_masks_of_another_class_are_not_drawn(client: Client, street: Street) -> None:
    asked = {"class": str(street.classes["car"])}

    response = client.get(f"{street.page}/{street.hex(7)}/masks", params=asked)

    with Image.open(io.BytesIO(response.content)) as image:
        assert not np.asarray(image).any()


def test_polygons_are_drawn_ring_by_ring(client: Client, street: Street) -> None:
    html = client.get(street.page, params={"class": str(street.classes[HOSTILE])}).text

    assert html.count('<polygon points="5 20 25 20 15 40"/>') == 9


def test_the_api_lists_what_the_grid_shows(client: Client, street: Street) -> None:
    asked = {"mark": "fn", "sort": MARKED, "size": "3", "page": "2"}

    answer = client.get(f"/api/v1{street.page}", params=asked).json()
    html = client.get(street.page, params=asked | {"page": "1", "only": "tiles"}).text

    assert (answer["page"], answer["total"]) == (2, len(cards(html)))
    assert [one["asset_id"] for one in answer["images"]] == cards(html)[3:6]
    assert {box["mark"] for one in answer["images"] for box in one["boxes"]} >= {"fn"}


def test_the_api_tells_one_image(client: Client, street: Street) -> None:
    answer = client.get(f"/api/v1{street.page}/{street.hex(12)}").json()

    assert answer["attributes"] == {"weather": "sun"}
    assert (answer["split"], answer["previous"], answer["next"]) == (
        "train", street.hex(11), street.hex(13),
    )  # fmt: skip
    assert [(one["class_name"], one["layer"], one["mark"]) for one in answer["annotations"]] == [
        ("car", "ground_truth", None),
        ("sign", "ground_truth", "fn"),
        ("car", MODEL, "tp"),
        ("person", MODEL, "fp"),
    ]


def changes(client: Client, street: Street, index: int) -> list[dict[str, object]]:
    answer = client.get(f"/api/v1{street.page}/{street.hex(index)}/history").json()
    assert answer["commits"] == 5
    found: list[dict[str, object]] = answer["changes"]
    return found


def test_history_tells_which_versions_changed_an_image(client: Client, street: Street) -> None:
    corrected, marked, inferred, imported = changes(client, street, 1)

    assert corrected["commit"] == street.versions[4]
    assert corrected["layers"] == [
        {
            "layer": "ground_truth",
            "covered": None,
            "added": {},
            "removed": {},
            "changed": {"car": 1},
        }
    ]
    assert marked["commit"] == street.versions[2]
    assert inferred["layers"] == [
        {"layer": MODEL, "covered": True, "added": {"car": 1}, "removed": {}, "changed": {}}
    ]
    assert (imported["commit"], imported["came"]) == (street.versions[0], True)


def test_history_tells_a_split_that_moved(client: Client, street: Street) -> None:
    newest = changes(client, street, 2)[0]
    html = client.get(f"{street.page}/{street.hex(2)}").text

    assert (newest["facts"], newest["layers"]) == (["split"], [])
    assert "split: test → train" in html


def looked(store: Store, street: Street) -> Lookup:
    return Lookup(Memory(), store.objects, street.hex(1))


def test_history_ends_where_it_was_told_and_goes_on_there(street: Street) -> None:
    found = history_of(street.store, looked(street.store, street), street.versions[4], most=2)

    assert (found.commits, found.before) == (2, street.versions[2])
    assert [change.commit.id for change in found.changes] == [street.versions[4]]


def test_history_says_nothing_of_what_another_project_did(street: Street, tmp_path: Path) -> None:
    store = street.store.scratch(tmp_path / "scratch")
    with store.edit(
        "mine",
        op_id="mine",
        operation=street.version.commit.operation,
        message="Taken over",
        base=street.version,
        parents=[street.version.id],
        project="mine",
    ) as edit:
        ids = street.version.asset_ids()[1:2]
        edit.put_layer("ground_truth", street.version.layer("ground_truth")[:0], assets=ids)
    sources = Sources(store)
    client = Client(create_app(lambda: sources))

    page = f"/projects/mine/versions/{edit.commit.id}/images/{street.hex(1)}"
    html = client.get(page).text

    assert "Taken over" in html
    assert "Evaluate" not in html
    assert len(client.get(f"/api/v1{page}/history").json()["changes"]) == 1


def test_history_leads_to_what_a_merge_took(street: Street, tmp_path: Path) -> None:
    store = street.store.scratch(tmp_path / "scratch")
    operation, ids = street.version.commit.operation, street.version.asset_ids()
    changes = {"main": 50, "side": 1}
    for branch, place in changes.items():
        with store.edit(
            branch, op_id=branch, operation=operation, message=branch, base=street.version
        ) as edit:
            none = street.version.layer("ground_truth")[:0]
            edit.put_layer("ground_truth", none, assets=ids[place : place + 1])
    side = edit.commit
    merged = merge(store, ["main", "side"], "main", op_id="merge")

    newest = history_of(store, looked(store, street), merged.id).changes[0]

    assert (newest.commit.id, [one.id for one in newest.merged]) == (merged.id, [side.id])
    assert [layer.layer for layer in newest.layers] == ["ground_truth"]
    unseen = history_of(store, looked(store, street), merged.id, told=lambda one: one != side)
    assert unseen.changes[0].merged == ()


def test_compaction_is_no_change(street: Street, tmp_path: Path) -> None:
    store = street.store.scratch(tmp_path / "scratch")
    version = street.version
    for number in range(40):
        with store.edit(
            "many",
            op_id=f"n{number}",
            operation=version.commit.operation,
            message="",
            base=version if number == 0 else None,
        ) as edit:
            ids = version.asset_ids()[50:51]
            edit.put_layer("ground_truth", version.layer("ground_truth", ids=ids), assets=ids)
    tip = store.compact("many")

    found = history_of(store, looked(store, street), tip.id)

    assert tip.operation.kind == "compact"
    assert len(found.changes) == len(history_of(store, looked(store, street), version.id).changes)


@pytest.mark.parametrize("path", ["", "/{asset}", "/{asset}/history"])
def test_another_project_sees_nothing(client: Client, street: Street, path: str) -> None:
    page = street.page.replace(PROJECT, "other") + path.format(asset=street.hex(0))

    assert client.get(f"/api/v1{page}").status_code == 404


def test_small_copies_are_made_once_for_many(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    shrink = files.shrink

    def counted(content: bytes, side: int = 480) -> bytes:
        calls.append(1)
        return shrink(content, side)

    monkeypatch.setattr(files, "THUMBNAIL_SIDE", 48)
    monkeypatch.setattr(files, "shrink", counted)
    sources = street.sources()
    client = Client(create_app(lambda: sources))
    address = f"{street.page}/{street.hex(3)}/thumbnail"

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: client.get(address).content, range(8)))

    assert len(set(answers)) == 1
    assert calls == [1]
