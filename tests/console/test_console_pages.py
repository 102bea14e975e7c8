from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path

import httpx
import pytest
from console_data import HOSTILE, Client, Shown, write_version
from PIL import Image

from mir_ops.console.app import create_app
from mir_ops.console.headers import IMAGE_POLICY, PAGE_POLICY
from mir_ops.console.images import files as images
from mir_ops.console.sources import NO_PROJECT, Sources
from mir_ops.store import Store

MODEL = "predictions:0123456789abcdef"


@pytest.fixture
def client(shown: Shown) -> Client:
    return Client(create_app(lambda: shown.sources))


def cards(html: str) -> list[str]:
    return re.findall(r"/images/([0-9a-f]{64})/thumbnail", html)


def total(html: str) -> int:
    found = re.search(r"Images \d+–\d+ of (\d+)", html)
    return int(found.group(1)) if found else 0


def test_a_version_shows_its_images_with_their_boxes(client: Client, shown: Shown) -> None:
    html = client.get(shown.images).text

    assert total(html) == 60
    assert len(cards(html)) == 48
    assert '<rect x="10.0" y="20.0" width="30.0" height="40.0"/>' in html
    assert ">bird 0.90</text>" in html


def test_pages_together_show_each_image_once(client: Client, shown: Shown) -> None:
    first = cards(client.get(shown.images).text)
    second = cards(client.get(shown.images, params={"page": "2"}).text)

    assert sorted(first + second) == sorted(asset_id.hex() for asset_id in shown.asset_ids)


@pytest.mark.parametrize("page", ["99", "-3", "0"])
def test_a_page_outside_the_range_is_the_nearest_one(
    client: Client, shown: Shown, page: str
) -> None:
    response = client.get(shown.images, params={"page": page})

    assert response.status_code == 200
    assert total(response.text) == 60


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({"split": "train"}, 40),
        ({"split": "val"}, 10),
        ({"split": "none"}, 10),
        ({"split": "test"}, 0),
        ({"class": "dog"}, 10),
        ({"class": "bird", "layer": "ground_truth"}, 0),
        ({"class": "bird", "layer": MODEL}, 30),
        ({"class": "bird", "layer": MODEL, "confidence": "0.05"}, 60),
        ({"class": "dog", "split": "val"}, 2),
        ({"picked": "1"}, 5),
        ({"picked": "1", "split": "val"}, 0),
    ],
)
def test_filters_keep_what_they_say(
    client: Client, shown: Shown, filters: dict[str, str], count: int
) -> None:
    if "class" in filters:
        filters = {**filters, "class": str(shown.store.classes()[filters["class"]])}

    html = client.get(shown.images, params=filters).text

    assert total(html) == count
    assert bool(count) is ("No image passes these filters" not in html)


def test_counts_of_classes_are_those_of_the_commit(client: Client, shown: Shown) -> None:
    html = client.get(shown.images).text

    assert re.search(r"<span>cat</span><span class=\"count\">50 · 50</span>", html)
    assert re.search(r"<span>dog</span><span class=\"count\">10 · 10</span>", html)


def test_picked_images_come_first_and_say_why(client: Client, shown: Shown) -> None:
    html = client.get(shown.images).text

    assert cards(html)[:5] == [shown.hex(index) for index in range(5)]
    assert re.search(r'title="entropy &#34;&gt;&lt;script&gt;[^"]*">#1</span>', html)


@pytest.mark.parametrize("path", ["", "/images/{asset}"])
def test_names_from_data_are_text(client: Client, shown: Shown, path: str) -> None:
    html = client.get(shown.page + path.format(asset=shown.hex(7))).text

    assert HOSTILE not in html
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


def test_an_image_page_lists_its_annotations(client: Client, shown: Shown) -> None:
    html = client.get(f"{shown.page}/images/{shown.hex(5)}").text

    assert "</i>cat</th><td>ground truth</td>" in html
    assert '</i>bird</th><td>prediction <span class="nowrap">0.90</span></td>' in html


def test_bytes_are_the_image_and_cannot_become_a_page(client: Client, shown: Shown) -> None:
    response = client.get(f"{shown.page}/images/{shown.hex(3)}/bytes")

    assert response.content == shown.store.get_blob(shown.hex(3))
    assert response.headers["content-type"] == "image/png"
    assert response.headers["content-security-policy"] == IMAGE_POLICY
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("media_type", ["image/svg+xml", "text/html", ""])
@pytest.mark.parametrize("kind", ["bytes", "thumbnail"])
def test_what_could_run_a_script_is_not_sent(tmp_path: Path, media_type: str, kind: str) -> None:
    drawn = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    store = Store.open(tmp_path.as_uri(), create=True)
    commit, _ = write_version(store, "digits/training", "digits", [drawn], media_type=media_type)
    client = Client(create_app(lambda: Sources(store, None)))
    asset_id = hashlib.sha256(drawn).hexdigest()

    answer = client.get(f"/projects/digits/versions/{commit.id}/images/{asset_id}/{kind}")

    assert answer.status_code == 415
    assert b"alert(1)" not in answer.content


def test_an_unchanged_image_is_not_sent_again(client: Client, shown: Shown) -> None:
    address = f"{shown.page}/images/{shown.hex(3)}/bytes"
    tag = client.get(address).headers["etag"]

    again = client.get(address, headers={"If-None-Match": tag})

    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("kind", ["", "/bytes", "/thumbnail"])
def test_an_image_of_another_project_is_not_there(client: Client, shown: Shown, kind: str) -> None:
    other = shown.other_ids[0].hex()

    assert client.get(f"{shown.page}/images/{other}{kind}").status_code == 404
    stolen = f"/projects/digits/versions/{shown.other.id}/images/{other}{kind}"
    assert client.get(stolen).status_code == 404
    own = f"/projects/secret/versions/{shown.other.id}/images/{other}{kind}"
    assert client.get(own).status_code == 200


def test_remembering_an_image_of_one_version_opens_no_other(
    shown: Shown,
) -> None:
    sources = shown.sources
    client = Client(create_app(lambda: sources))
    client.get(f"/projects/secret/versions/{shown.other.id}")

    other = shown.other_ids[0].hex()
    assert client.get(f"{shown.page}/images/{other}/bytes").status_code == 404


def test_versions_of_no_project_are_for_the_person_at_the_machine(shown: Shown) -> None:
    address = f"/projects/{NO_PROJECT}/versions/{shown.commit.id}"
    local = Client(create_app(lambda: Sources(shown.store, every_version=True)))
    shared = Client(create_app(lambda: shown.sources))

    assert local.get(address).status_code == 200
    assert shared.get(address).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/projects/unknown",
        "/projects/digits/versions/main",
        "/projects/digits/versions/deadbeefdeadbeef",
        "/projects/digits/versions/..%2f..%2fetc",
        "/projects/digits/versions/{commit}/images/..%2F..%2F..%2Fetc%2Fpasswd/bytes",
        "/projects/digits/versions/{commit}/images/" + "0" * 64 + "/bytes",
        "/projects/digits/versions/{commit}/images/" + "Z" * 64,
        "/static/..%2fapp.py",
        "/static/../app.py",
        "/docs",
        "/openapi.json",
    ],
)
def test_what_does_not_exist_is_a_404_page(client: Client, shown: Shown, path: str) -> None:
    response = client.get(path.format(commit=shown.commit.id))

    assert response.status_code == 404
    assert "root:" not in response.text
    assert "import" not in response.text


@pytest.mark.parametrize("path", ["/", "/static/console.css", "/nothing"])
def test_every_response_carries_the_policy(client: Client, path: str) -> None:
    headers = client.get(path).headers

    assert headers["content-security-policy"] == PAGE_POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"


def test_pages_need_no_inline_script_or_style(client: Client, shown: Shown) -> None:
    for path in ("/", "/projects/digits", shown.page, f"{shown.page}/images/{shown.hex(0)}"):
        html = client.get(path).text

        assert not re.search(r"<style|\sstyle=|\son[a-z]+=\"|<script>|target=", html)


@pytest.mark.parametrize(("mount", "path"), [("", "/"), ("/mir", "/"), ("/air/mir", "/")])
def test_links_are_relative_to_wherever_the_app_is_mounted(
    shown: Shown, mount: str, path: str
) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    app = create_app(lambda: shown.sources)
    client = Client(Starlette(routes=[Mount(mount, app)]) if mount else app)

    for page in (shown.page, f"{shown.page}/images/{shown.hex(0)}", "/projects/digits"):
        html = client.get(mount + page).text
        addresses = re.findall(r'(?:href|src)="([^"#]*)"', html)
        assert addresses
        assert not [found for found in addresses if found.startswith(("/", "http"))]
        for found in {found.replace("&amp;", "&") for found in addresses}:
            address = httpx.URL(f"http://console{mount}{page}").join(found)
            followed = client.get(str(address))
            assert followed.status_code == 200, found


def test_links_hold_when_a_proxy_drops_the_prefix(shown: Shown) -> None:
    client = Client(create_app(lambda: shown.sources), root_path="/airflow/mir")

    html = client.get(shown.images).text

    assert 'href="../../../../static/console.css"' in html


def test_large_images_get_small_copies(shown: Shown) -> None:
    file = io.BytesIO()
    Image.new("RGB", (2000, 1000), "red").save(file, "JPEG")

    with Image.open(io.BytesIO(images.shrink(file.getvalue()))) as small:
        assert small.size == (480, 240)


def test_small_copies_are_upright() -> None:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (1200, 600), "red").save(file, "JPEG", exif=exif)

    with Image.open(io.BytesIO(images.shrink(file.getvalue()))) as small:
        assert small.size == (240, 480)


@pytest.mark.parametrize("content", [b"", b"GIF89a" + b"\0" * 20, b"\xff\xd8\xff" + b"\0" * 50])
def test_what_is_not_an_image_has_no_small_copy(content: bytes) -> None:
    with pytest.raises(ValueError, match="The image cannot be read"):
        images.shrink(content)


def test_an_image_too_large_to_draw_is_refused_before_it_is_unpacked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = io.BytesIO()
    Image.new("1", (3000, 3000)).save(file, "PNG")
    monkeypatch.setattr(images, "MOST_PIXELS", 1_000_000)

    with pytest.raises(ValueError, match="too large"):
        images.shrink(file.getvalue())
