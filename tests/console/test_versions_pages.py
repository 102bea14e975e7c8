"""Pages of datasets and versions: what they say, and what of names from outside they do with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from console_data import HOSTILE, Client
from markupsafe import escape
from version_story import HOME, KEY, Asking, Story, write_story

from mir_ops.console.app import create_app
from mir_ops.console.sources import Sources
from mir_ops.console.versions import differences, views


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Nothing in this module writes to it."""
    return write_story(tmp_path_factory.mktemp("story"))


@pytest.fixture(scope="module")
def client(story: Story) -> Asking:
    return story.ask()


def address(story: Story, name: str) -> str:
    return f"{HOME}/{getattr(story, name).id}"


def texts(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def every_page(story: Story) -> Iterator[str]:
    yield HOME
    yield f"{HOME}?branch=digits/training"
    yield f"{HOME}?q=night"
    yield f"{HOME}/compare"
    yield f"{HOME}/compare?from={story.first.id}&to=digits/training"
    yield f"{HOME}/new"
    yield f"{HOME}/new?sources=tr:training;night/drawn&strategy=host&include_classes=cat&count=3"
    yield f"{HOME}/import"
    for name in ("first", "second", "merged"):
        yield address(story, name)
    yield f"{address(story, 'second')}/analysis"


def test_names_from_data_are_text_on_every_page(client: Client, story: Story) -> None:
    for path in every_page(story):
        html = client.get(path).text

        assert "<script>alert" not in html, path
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=\"|<script>", html), path


def test_links_of_every_page_lead_somewhere(client: Client, story: Story) -> None:
    seen: set[str] = set()
    for path in every_page(story):
        html = client.get(path).text
        for found in re.findall(r'(?:href|src)="([^"#]*)"', html):
            assert not found.startswith(("/", "http")), found
            seen.add(str(_joined(path, found.replace("&amp;", "&"))))

    for found in sorted(seen - {"/projects/digits/models"}):
        if "/thumbnail" not in found and "?q=" not in found:
            assert client.get(found).status_code in (200, 307), found


def _joined(path: str, found: str) -> str:
    from urllib.parse import urljoin

    return urljoin(path, found)


def test_log_has_the_graph_names_and_tags(client: Client) -> None:
    html = client.get(HOME).text

    assert html.count('<svg class="lanes"') == 4
    said = texts(html)
    assert "digits/all@V1 newest" in said
    assert "digits/training@V2 newest" in said
    assert "digits/training@first" in said
    assert "Draw twenty" in said
    assert said.index("Draw twenty") < said.index("Look again")


def test_log_of_one_dataset_has_its_versions_alone(client: Client) -> None:
    said = texts(client.get(f"{HOME}?branch=digits/training").text)

    assert "Look again" in said
    assert "Versions of digits/training" in said
    rows = client.get(f"{HOME}?branch=digits/training").text.count('name="from"')
    assert rows == 2
    assert client.get(f"{HOME}?branch=secret/training").status_code == 404


def test_log_is_paged(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "LOG_PAGE", 3)
    client = story.ask()

    pages = [client.get(f"{HOME}?page={number}").text for number in (1, 2, 9)]

    assert [page.count('name="from"') for page in pages] == [3, 1, 1]
    assert 'rel="next"' in pages[0]
    assert 'rel="prev"' in pages[1]
    assert pages[1] == pages[2]


@pytest.mark.parametrize(
    ("query", "expected"),
    [("twenty", ["digits/night/drawn@V1"]), ("night", ["digits/training@V2"]), ("zzzzz", [])],
)
def test_search_finds_by_keyword_dataset_and_description(
    client: Client, query: str, expected: list[str]
) -> None:
    html = client.get(f"{HOME}?q={query}").text

    found = re.findall(r'title="[0-9a-f]{64}">([^<]*)</a>', html)
    assert found[: len(expected)] == expected
    assert bool(found) == bool(expected)


def test_search_finds_nothing_of_another_project(client: Client, story: Story) -> None:
    html = client.get(f"{HOME}?q=secret").text

    assert story.shown.other.id not in html


def test_version_says_where_it_comes_from_and_what_came_of_it(client: Client, story: Story) -> None:
    said = texts(client.get(address(story, "second")).text)

    before, after = said.split("What was made from it")
    assert "digits/training@V1" in before
    assert "digits/night/drawn@V1 sample" in after
    assert "digits/all@V1 merge" in after
    assert "Images 59" in said


def test_version_of_another_project_is_not_there(client: Client, story: Story) -> None:
    secret = story.shown.other.id

    for path in (
        f"{HOME}/{secret}",
        f"{HOME}/{secret}/analysis",
        f"{HOME}/compare?from={secret}&to=digits/training",
        f"{HOME}/compare?from=secret/training&to=digits/training",
    ):
        assert client.get(path).status_code == 404, path
    html = client.get(f"{HOME}/new?sources=secret/training").text
    assert "No version <code>secret/training</code> in project <code>digits</code>" in html


def test_addresses_of_images_as_they_once_were_still_lead_there(
    client: Client, story: Story
) -> None:
    response = client.get(f"{address(story, 'first')}?class=1&page=2")

    assert response.status_code == 307
    assert response.headers["location"] == f"{story.first.id}/images?class=1&page=2"


def test_difference_is_counted_then_shown_by_image(client: Client, story: Story) -> None:
    path = f"{HOME}/compare?from={story.first.id}&to={story.second.id}"

    html = client.get(path).text

    said = texts(html)
    assert "Images added 0 Images removed 1 Moved to another split 1 Images that differ 4" in said
    assert "train → val: 1" in said
    assert html.count('class="tile"') == 4
    assert f"{story.first.id}/images/{story.shown.hex(0)}" in html
    assert f"{story.second.id}/images/{story.shown.hex(1)}" in html
    labels = client.get(f"{path}&kind=labels").text
    assert labels.count('class="tile"') == 2
    assert labels.count('class="was changed"><rect') == 1
    assert labels.count('class="was removed"><rect') == 1


def test_difference_is_paged(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(differences, "PAGE_SIZE", 3)
    path = f"{HOME}/compare?from={story.first.id}&to={story.second.id}"

    pages = [story.ask().get(f"{path}&page={number}").text for number in (1, 2)]

    assert [page.count('class="tile"') for page in pages] == [3, 1]


def test_equal_versions_do_not_differ(client: Client, story: Story) -> None:
    html = client.get(f"{HOME}/compare?from={story.first.id}&to={story.first.id}").text

    assert "The two versions hold the same." in html


def test_charts_count_classes_sizes_and_what_is_worth_a_look(client: Client, story: Story) -> None:
    said = texts(client.get(f"{address(story, 'second')}/analysis").text)

    assert "Images that are not labelled: 10" in said
    assert "Box area pixels" in said
    assert "not assigned 10" in said


def test_charts_are_of_all_that_is_known(story: Story, tmp_path: Path) -> None:
    store = story.shown.store.scratch(tmp_path / "scratch")
    version = store.read(story.second)
    assets, truth = version.assets(), version.layer("ground_truth")
    known = [("weather", HOSTILE), ("image_quality", "0.85")]
    columns = {
        "attributes": pa.array([known] * assets.num_rows, assets.schema.field("attributes").type),
        "quality": pa.array([0.35] * truth.num_rows, truth.schema.field("quality").type),
    }
    with store.edit(
        "charted",
        op_id="c",
        operation=story.second.operation,
        message="",
        base=version,
        project=KEY,
    ) as edit:
        for table, name, put in ((assets, "attributes", edit.put_assets), (truth, "quality", None)):
            place = table.schema.get_field_index(name)
            described = table.set_column(place, table.schema.field(name), columns[name])
            if put is None:
                edit.put_layer(
                    "ground_truth", described, assets=version.layer_assets("ground_truth")
                )
            else:
                put(described)
    sources = Sources(store)

    html = Client(create_app(lambda: sources)).get(f"{HOME}/{edit.commit.id}/analysis").text

    captions = [texts(one).strip() for one in re.findall("<caption>(.*?)</caption>", html)]
    wanted = ("Classes", "Box area pixels", "Annotations of an image", "Splits", "Image quality",
              "Annotation quality")  # fmt: skip
    assert set(wanted) <= set(captions)
    assert "weather attribute" in captions
    assert f"{escape(HOSTILE)}</th>" in html


def test_preview_has_the_counts_of_what_would_be_made(client: Client, story: Story) -> None:
    before = story.shown.store.heads()

    html = client.get(f"{HOME}/new?sources=training&include_classes=dog&splits=tr").text

    said = texts(html)
    assert "Images 7 of 59" in said
    assert "mir fuse --src-revs training -p dog --splits tr --to digits/NAME" in said
    assert story.shown.store.heads() == before


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("sources=nowhere", "No version `nowhere` in project `digits`"),
        ("sources=training&include_classes=dgo", "Did you mean `dog`?"),
        ("sources=training&count=1&rate=0.5", "Sampling needs either a count or a rate"),
        ("sources=training&width=wide", "`width` is no range: `wide`"),
        ("sources=training&strategy=fast", "`strategy` cannot be `fast`"),
        ("sources=training&count=few", "`count` is no number: `few`"),
    ],
)
def test_preview_says_what_cannot_be_made(client: Client, query: str, problem: str) -> None:
    response = client.get(f"{HOME}/new?{query}")

    assert response.status_code == 200
    assert problem.replace("`", "") in unescape(re.sub(r"<[^>]+>", "", response.text))


def test_preview_says_where_sources_differ(story: Story, tmp_path: Path) -> None:
    store = story.shown.store.scratch(tmp_path / "scratch")
    version = store.read(story.first)
    for branch in ("digits/one", "digits/two"):
        boxes = version.layer("ground_truth")
        moved = pc.add(boxes["x"], pa.scalar(len(branch) + ord(branch[-1]), boxes["x"].type))
        with store.edit(
            branch, op_id=branch, operation=story.first.operation, message="", project=KEY
        ) as edit:
            edit.put_assets(version.assets())
            place = boxes.schema.get_field_index("x")
            field = boxes.schema.field("x")
            edit.put_layer("ground_truth", boxes.set_column(place, field, moved))
    sources = Sources(store)

    html = Client(create_app(lambda: sources)).get(f"{HOME}/new?sources=one;two").text

    assert "Both sides changed the same assets" in html
    assert "It would have" not in html


def test_readers_are_offered_no_changes(story: Story) -> None:
    client = story.ask("read")

    for path in every_page(story):
        assert "data-send" not in client.get(path).text, path


def test_import_without_airflow_shows_the_command(client: Client) -> None:
    said = texts(client.get(f"{HOME}/import").text)

    assert "mir import FOLDER-OR-ARCHIVE --to digits/NAME" in said


def test_hostile_operations_and_keywords_are_shown_as_text(client: Client, story: Story) -> None:
    html = client.get(address(story, "second")).text

    assert HOSTILE not in html
    assert html.count("&lt;script&gt;alert(1)") >= 3
