"""Journeys through the images of a version, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from browser_tab import CHROMIUM, Tab
from images_data import Street, write_digits
from pages_server import serving
from playwright.sync_api import expect

from mir_ops.console.app import create_app

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]

PATIENCE = 60_000  # milliseconds
MOST = 5  # blocks of 48 tiles that a page holds


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Street:
    return write_digits(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="module")
def url(digits: Street) -> Iterator[str]:
    sources = digits.sources()
    with serving(create_app(lambda: sources)) as address:
        yield f"{address}{digits.page}"


@pytest.fixture(autouse=True)
def patient(tab: Tab) -> None:
    tab.page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)


def test_scrolling_goes_through_all_pages_and_holds_few(
    url: str, digits: Street, tab: Tab, picture: Callable[[str], None]
) -> None:
    page = tab.page
    page.goto(url)
    page.wait_for_load_state("networkidle")
    picture("console-images")

    seen: list[str] = []
    last = page.locator('.grid[data-page="10"] .tile').last
    while not last.count():
        page.mouse.wheel(0, 2500)
        page.wait_for_timeout(40)
        blocks = page.locator(".grid").evaluate_all("all => all.map((one) => one.dataset.page)")
        assert len(blocks) <= MOST + 1
        seen += blocks

    assert set(seen) >= {str(number) for number in range(1, 10)}
    last.scroll_into_view_if_needed()
    expect(page.get_by_role("status")).to_have_text("Images 433–450 of 450")
    assert "page=10" in page.url
    assert page.locator('.grid[data-page="1"]').count() == 0

    page.evaluate("window.scrollTo(0, 0)")
    expect(page.locator(f'.tile[href*="{digits.hex(0)}"]')).to_have_count(0)
    page.get_by_label("Page", exact=True).fill("1")
    expect(page.locator(f'.tile[href*="{digits.hex(0)}"]')).to_have_count(1)
    expect(page.get_by_role("status")).to_have_text("Images 1–48 of 450")
    assert tab.complaints == []


def test_what_is_above_comes_back_and_nothing_jumps(url: str, tab: Tab) -> None:
    page = tab.page
    page.goto(f"{url}?page=6")
    sixth = page.locator('.grid[data-page="6"]')
    expect(page.locator('.grid[data-page="5"]')).to_have_count(1)

    top = sixth.evaluate("one => one.getBoundingClientRect().top")

    assert 0 < top < 700
    assert tab.complaints == []


def test_wrong_boxes_of_a_class_are_found_and_walked_through(
    url: str, digits: Street, tab: Tab, picture: Callable[[str], None]
) -> None:
    page = tab.page
    page.goto(url)
    page.get_by_role("link", name=re.compile("^three")).click()
    page.wait_for_url("**class=**")
    page.get_by_label("Evaluation").select_option("fp")
    page.wait_for_url("**mark=fp**")
    total = int(page.get_by_role("status").inner_text().rpartition(" ")[2])
    assert 2 < total < 100
    expect(page.locator(".name text", has_text="FP three").first).to_be_visible()

    page.locator(".tile").first.click()
    expect(page.get_by_text(f"1 of {total}")).to_be_visible()
    expect(page.locator("tr", has_text="wrong").first).to_be_visible()
    picture("console-image")
    first = page.url
    page.keyboard.press("ArrowRight")
    expect(page.get_by_text(f"2 of {total}")).to_be_visible()
    assert page.url != first
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(first)
    page.keyboard.press("Escape")
    page.wait_for_url("**/images?**mark=fp**")

    expect(page.get_by_role("status")).to_contain_text(f"of {total}")
    assert tab.complaints == []


def test_a_tag_is_chosen_from_those_that_occur(url: str, tab: Tab) -> None:
    page = tab.page
    page.goto(url)
    page.get_by_label("Box tag").focus()
    offered = page.locator("#tags option[value^='eval_mistake=']").first
    expect(offered).to_be_attached()
    tag = offered.get_attribute("value") or ""

    page.get_by_label("Box tag").fill(tag)
    page.keyboard.press("Enter")

    expect(page.get_by_label(tag)).to_be_checked()
    assert "tag=eval_mistake" in page.url
    page.get_by_label(tag).uncheck()
    expect(page.get_by_role("status")).to_have_text("Images 1–48 of 450")
    assert tab.complaints == []


def test_history_leads_to_the_image_as_it_was(url: str, digits: Street, tab: Tab) -> None:
    page = tab.page
    page.goto(f"{url}/{digits.hex(digits.corrected)}")
    history = page.locator("#history")
    expect(history.get_by_role("link")).to_have_text(
        ["Correct a label", "Evaluate", "Predict", "Import digits"]
    )
    expect(history.locator(".other").first).to_have_text(re.compile("~[0-9]+ seven"))

    history.get_by_role("link", name="Import digits").click()

    page.wait_for_url(f"**/versions/{digits.versions[0]}/images/{digits.hex(digits.corrected)}")
    expect(page.locator("#history").get_by_role("link")).to_have_text(["Import digits"])
    assert tab.complaints == []


def test_an_image_is_zoomed_by_key_and_button(url: str, digits: Street, tab: Tab) -> None:
    page = tab.page
    page.goto(f"{url}/{digits.hex(3)}")
    image = page.locator(".stage img").first
    before = image.bounding_box()

    page.keyboard.press("+")
    page.get_by_role("button", name="Zoom in").click()

    expect(page.locator("output")).to_have_text("225 %")
    after = image.bounding_box()
    assert before is not None
    assert after is not None
    assert after["width"] == pytest.approx(before["width"] * 2.25, rel=0.01)
    page.keyboard.press("0")
    expect(page.locator("output")).to_have_text("100 %")


def test_a_row_points_at_its_box(url: str, digits: Street, tab: Tab) -> None:
    page = tab.page
    page.goto(f"{url}/{digits.hex(3)}")

    page.locator("tr[data-shape='1']").hover()

    expect(page.locator(".overlay g.shape.here")).to_have_count(1)
    assert page.locator(".overlay g.shape").nth(1).evaluate("one => one.matches('.here')")


def test_arrows_go_from_tile_to_tile(url: str, tab: Tab) -> None:
    page = tab.page
    page.goto(url)
    page.locator(".tile").nth(0).focus()

    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")

    second = page.locator(".tile").nth(1)
    assert second.evaluate("one => one === document.activeElement")
    assert page.url == url


@pytest.mark.parametrize("width", [360, 820])
def test_a_narrow_window_shows_it_all(url: str, digits: Street, tab: Tab, width: int) -> None:
    tab.page.set_viewport_size({"width": width, "height": 800})
    for path in ("", f"/{digits.hex(0)}"):
        tab.page.goto(url + path)

        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width


def test_without_script_there_are_pages(url: str, tab: Tab) -> None:
    browser = tab.page.context.browser
    assert browser is not None
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(f"{url}?split=train")

    page.get_by_role("link", name="Next").first.click()

    expect(page.get_by_role("status")).to_have_text("Images 49–96 of 113")
    assert page.get_by_role("button", name="Apply").is_visible()
