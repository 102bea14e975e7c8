"""Looking into a project's rounds and its label tasks, in a real Chromium."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from browser_tab import CHROMIUM, Tab
from console_data import Shown
from pages_server import serving
from playwright.sync_api import expect
from project_story import tell_story

from mir_ops.catalog import Catalog
from mir_ops.console.app import create_app
from mir_ops.console.sources import Sources

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]

Picture = Callable[[str], None]
PATIENCE = 120_000  # milliseconds


@pytest.fixture
def served(shown: Shown, empty_catalog: str) -> Iterator[str]:
    catalog = Catalog.open(empty_catalog)
    tell_story(catalog, shown, words="Digits on plates at the gate", who="ann@example.org")
    sources = Sources(shown.store, catalog)
    app = create_app(lambda: sources, may=lambda _request, _action, _project: True)
    with serving(app) as address:
        yield address


def test_a_round_tells_what_it_did_and_why(
    served: str, tab: Tab, shown: Shown, picture: Picture
) -> None:
    page = tab.page
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    page.goto(served + "/")
    page.fill("[name=q]", "digits")
    page.keyboard.press("Enter")
    expect(page.locator(".cards li")).to_have_count(1)
    page.goto(served + "/")
    picture("projects")
    page.get_by_role("link", name="digits").click()
    expect(page.get_by_text("Waits for labels: 3 of 5 images")).to_be_visible()
    picture("rounds")
    page.get_by_role("link", name="People's time").click()
    expect(page.get_by_text("Accuracy against what people spent")).to_be_visible()

    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("row", name="map50 0.250 0.500 +0.250")).to_be_visible()
    page.get_by_role("link", name="Round 2").first.click()
    expect(page.get_by_role("heading", name="Chosen images")).to_be_visible()
    picture("round")
    page.get_by_role("link", name="No. 1").click()
    expect(page.locator("img").first).to_be_visible()
    assert shown.hex(0) in page.url

    page.goto(f"{served}/projects/digits/labels")
    page.get_by_role("button", name="Fetch now").click()
    expect(page.locator("td", has_text=" UTC")).to_have_count(2)  # asked, and just now
    picture("labels")
    assert (tab.complaints, tab.elsewhere(served)) == ([], [])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_of_rounds_fit_a_phone(served: str, tab: Tab, scheme: str) -> None:
    tab.page.set_default_timeout(PATIENCE)
    tab.page.set_viewport_size({"width": 390, "height": 844})
    tab.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")

    round_pages = ("rounds/2", "labels", "rounds/compare?first=1&second=2")
    for path in ("", "new-project", *(f"projects/digits/{page}" for page in round_pages)):
        tab.page.goto(f"{served}/{path}")
        wide = tab.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390, path
    assert tab.complaints == []
