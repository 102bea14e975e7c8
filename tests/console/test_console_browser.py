"""The console in a real Chromium: what a person sees, and what the browser objects to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser_tab import CHROMIUM, Tab
from console_data import Shown
from pages_server import serving
from playwright.sync_api import expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route

from mir_ops.console.app import create_app
from mir_ops.console.report import write_folder_page

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]

# As Airflow shows a plugin's page.
FRAME = (
    '<iframe sandbox="allow-scripts allow-same-origin allow-forms allow-downloads" '
    'src="/mir/" width="1200" height="900"></iframe>'
)


@pytest.fixture(scope="module")
def served(shown: Shown) -> Iterator[str]:
    """The console under `/mir`, and a page at `/framed` that shows it as Airflow does."""

    async def framed(_request: Request) -> HTMLResponse:
        return HTMLResponse(f'<!doctype html><link rel="icon" href="data:,">{FRAME}')

    app = create_app(lambda: shown.sources)
    site = Starlette(routes=[Route("/framed", framed), Mount("/mir", app)])
    with serving(site) as url:
        yield url


def test_images_and_their_boxes_are_seen(served: str, shown: Shown, tab: Tab) -> None:
    tab.page.goto(f"{served}/mir{shown.images}")
    tab.page.wait_for_load_state("networkidle")

    tile = tab.page.locator(".tile").nth(0)
    assert tile.locator("img").evaluate("image => image.naturalWidth") == 96
    image = tile.locator("img").bounding_box()
    box = tile.locator(".shape rect:not(.halo)").first.bounding_box()
    assert image is not None
    assert box is not None
    # The first box is x 10, y 20, w 30, h 40 of 96 × 96.
    scale = image["width"] / 96
    assert box["x"] - image["x"] == pytest.approx(10 * scale, abs=2)
    assert box["y"] - image["y"] == pytest.approx(20 * scale, abs=2)
    assert box["width"] == pytest.approx(30 * scale, abs=4)
    stroke = "shape => getComputedStyle(shape).stroke"
    colours = {
        name: tab.page.locator(f".{name} > rect:not(.halo)").first.evaluate(stroke)
        for name in ("k0", "k2")
    }
    assert len(set(colours.values()) - {"none"}) == 2
    assert tab.complaints == []
    assert tab.elsewhere(served) == []


def test_filters_and_keys_turn_pages(served: str, shown: Shown, tab: Tab) -> None:
    page = tab.page
    page.goto(f"{served}/mir{shown.images}")
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**page=2**")
    # The second page alone, or below the first, where scrolling had brought it before.
    assert page.locator(".tile").count() in (12, 60)

    page.get_by_label("Split").select_option("val")
    page.wait_for_url("**split=val**")
    expect(page.get_by_role("status")).to_have_text("Images 1–10 of 10")

    page.get_by_role("link", name="dog").click()
    page.wait_for_url("**class=**")
    expect(page.get_by_role("status")).to_have_text("Images 1–2 of 2")

    page.get_by_label("Predictions").uncheck()
    page.wait_for_url(lambda url: "predictions" not in url)
    expect(page.locator(".shape.predicted")).to_have_count(0)
    assert page.locator(".shape").count() > 0
    assert tab.complaints == []


def test_names_can_be_hidden(served: str, shown: Shown, tab: Tab) -> None:
    tab.page.goto(f"{served}/mir{shown.images}")
    name = tab.page.locator(".name").first
    assert name.is_visible()

    tab.page.get_by_label("Show names").uncheck()

    assert not name.is_visible()


def test_hostile_names_run_nothing(served: str, shown: Shown, tab: Tab) -> None:
    for path in (shown.images, f"{shown.page}/images/{shown.hex(7)}", "/projects/digits", "/"):
        tab.page.goto(f"{served}/mir{path}")

    assert tab.page.evaluate("[...document.scripts].filter((one) => !one.src).length") == 0
    assert tab.complaints == []


def test_the_whole_console_works_inside_airflows_frame(served: str, shown: Shown, tab: Tab) -> None:
    tab.page.goto(f"{served}/framed")
    frame = tab.page.frame_locator("iframe")

    tab.page.frames[1].goto(f"{served}/mir/projects/digits")
    frame.get_by_role("link", name=shown.commit.id[:12]).click()
    tab.page.frames[1].goto(f"{served}/mir{shown.images}")
    frame.locator(".tile").first.click()
    frame.get_by_role("heading", name="Annotations").wait_for()
    frame.get_by_role("link", name="mir").click()
    frame.get_by_role("heading", name="Projects").wait_for()

    assert tab.page.url == f"{served}/framed"
    assert tab.complaints == []
    assert tab.elsewhere(served) == []


@pytest.mark.parametrize("width", [360, 820, 1280])
def test_no_page_is_wider_than_its_window(served: str, shown: Shown, tab: Tab, width: int) -> None:
    tab.page.set_viewport_size({"width": width, "height": 800})
    image = f"{shown.page}/images/{shown.hex(7)}"
    for path in ("/", "/projects/digits", shown.page, image):
        tab.page.goto(f"{served}/mir{path}")

        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width, path


def test_a_report_needs_nothing_but_its_file(shown: Shown, tab: Tab, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_folder_page(
        shown.store, shown.store.read(shown.commit.id), path, title="Mine", notes=["<b>two</b>"]
    )

    tab.page.goto(path.as_uri())
    tab.page.wait_for_load_state("networkidle")

    assert tab.page.locator(".tile").count() == 60
    assert tab.page.locator(".tile img").nth(3).evaluate("image => image.naturalWidth") == 96
    assert tab.page.get_by_text("<b>two</b>").is_visible()
    assert tab.elsewhere("file://") == []
    assert tab.complaints == []
