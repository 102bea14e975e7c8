"""Journeys through datasets and versions, in a real browser."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator

import pytest
from browser_tab import CHROMIUM, Tab
from pages_server import serving
from playwright.sync_api import expect
from starlette.applications import Starlette
from starlette.routing import Mount
from version_story import write_street

from mir_ops.console.app import create_app
from mir_ops.console.sources import Sources

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]

PATIENCE = 60_000  # milliseconds


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    """Journeys that write make datasets of their own."""
    return write_street(tmp_path_factory.mktemp("street"))


@pytest.fixture(scope="module")
def home(street: Sources) -> Iterator[str]:
    """The versions of the project, served below a path of its own."""
    console = create_app(lambda: street, may=lambda _request, _action, _project: True)
    site = Starlette(routes=[Mount("/at/mir", console)])
    with serving(site) as address:
        yield f"{address}/at/mir/projects/street/versions"


@pytest.fixture
def patient(tab: Tab) -> Tab:
    tab.page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    return tab


def test_from_the_graph_to_a_version_and_its_charts(
    home: str, patient: Tab, picture: Callable[[str], None]
) -> None:
    page = patient.page
    page.goto(home)
    expect(page.locator(".log svg.lanes")).to_have_count(7)
    page.locator(".log").scroll_into_view_if_needed()
    picture("versions")

    page.get_by_role("searchbox").fill("night")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("link", name="street/training@V3")).to_be_visible()
    page.get_by_role("link", name="street/training@V3").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("street/training@V3")
    page.get_by_role("link", name="street/training@V2").first.click()
    expect(page.get_by_text("images are not JPEG, PNG or BMP")).to_be_visible()
    expect(page.locator("section", has_text="What was made from it")).to_contain_text("Who walks")
    picture("version")

    page.get_by_role("link", name="Charts").click()
    expect(page.get_by_text("fewer than 500 annotations of")).to_be_visible()
    picture("version-charts")
    assert patient.complaints == []


def test_two_versions_are_chosen_and_what_differs_is_seen(
    home: str, patient: Tab, picture: Callable[[str], None]
) -> None:
    page = patient.page
    page.goto(f"{home}?branch=street%2Ftraining")
    page.get_by_label("From street/training@V1").check()
    page.get_by_label("To street/training@V4").check()
    page.get_by_role("button", name="Compare").click()

    expect(page.get_by_role("heading", level=1)).to_have_text(
        "From street/training@V1 to street/training@V4"
    )
    page.locator(".tabs").get_by_role("link", name=re.compile("Labels changed")).click()
    tiles = page.locator(".tile")
    assert tiles.count() > 4
    changed = page.locator(".was.changed rect:not(.halo)").first
    assert changed.evaluate("each => getComputedStyle(each).stroke") == "rgb(255, 176, 46)"
    page.wait_for_load_state("networkidle")
    picture("versions-compared")
    tiles.first.click()
    page.wait_for_url(re.compile("/images/[0-9a-f]{64}"))
    assert patient.complaints == []


def test_a_filter_is_seen_before_it_is_committed(
    home: str, street: Sources, patient: Tab, picture: Callable[[str], None]
) -> None:
    page = patient.page
    page.goto(f"{home}/new")
    page.get_by_label("Versions, joined by ;").fill("training")
    page.get_by_label("With these classes").fill("sing")
    page.get_by_role("button", name="Show what it would give").click()
    expect(page.get_by_role("alert")).to_contain_text("Did you mean sign?")
    page.get_by_label("With these classes").fill("sign")
    page.get_by_role("button", name="Show what it would give").click()
    preview = page.get_by_role("region", name="Preview")
    foretold = _first_number(preview.locator(".figures dd").first.inner_text())
    picture("version-preview")

    page.get_by_label("Dataset that it becomes").fill("../signs")
    page.get_by_role("button", name="Commit").click()
    expect(page.get_by_role("alert")).to_contain_text("cannot name a branch")
    page.get_by_label("Dataset that it becomes").fill("signs")
    page.get_by_role("button", name="Commit").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("street/signs@V1")
    assert _first_number(page.locator(".figures dd").first.inner_text()) == foretold
    assert street.store.resolve("street/signs").stats.assets == foretold


def test_a_version_is_downloaded(home: str, patient: Tab) -> None:
    page = patient.page
    page.goto(home)
    page.get_by_role("link", name="street/people@V1").first.click()
    page.get_by_label("Format").select_option("coco")

    with page.expect_download(timeout=PATIENCE) as waiting:
        page.get_by_role("button", name="Download").click()

    assert waiting.value.suggested_filename == "street-people@V1.zip"
    with zipfile.ZipFile(waiting.value.path()) as file:
        assert file.testzip() is None
        assert "annotations/coco-annotations.json" in file.namelist()


def test_a_dataset_is_described_renamed_deleted_and_restored(
    home: str, street: Sources, patient: Tab
) -> None:
    made = street.store.edit(
        "street/life",
        op_id="life",
        operation=street.store.resolve("street/people").operation,
        message="Start",
        base=street.store.resolve("street/people"),
        project="street",
    )
    with made:
        pass
    page = patient.page
    page.goto(f"{home}/{made.commit.id}")
    page.get_by_label("Description").fill("All about life")
    page.get_by_label("Keywords").fill("alive")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("street/life@V2")
    expect(page.get_by_text("All about life").first).to_be_visible()

    page.goto(home)
    row = page.get_by_role("row", name=re.compile("street.life"))
    row.first.get_by_text("Change").click()
    row.first.get_by_label("New name").fill("lives")
    row.first.get_by_role("button", name="Rename").click()
    row = page.get_by_role("row", name=re.compile("^street.lives"))
    row.first.get_by_text("Change").click()
    row.first.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Go on").click()
    page.get_by_text("2 deleted datasets").click()
    lives = page.get_by_role("listitem").filter(has_text="street/lives")
    lives.get_by_role("button", name="Restore").click()

    expect(page.get_by_role("row", name=re.compile("^street.lives")).first).to_be_visible()
    assert street.store.resolve("street/lives").keywords == ()
    assert patient.complaints == []


def test_pages_fit_a_phone(home: str, patient: Tab) -> None:
    page = patient.page
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(home)
    version = page.get_by_role("link", name="street/training@V4").first.get_attribute("href")
    assert version is not None
    for path in (
        "",
        f"/../{version}",
        f"/../{version}/analysis",
        "/new?sources=training",
        "/import",
    ):
        page.goto(home + path)

        wide = "document.documentElement.scrollWidth - window.innerWidth"
        assert page.evaluate(wide) <= 0, path


def _first_number(text: str) -> int:
    found = re.match(r"\d+", text)
    assert found, text
    return int(found[0])
