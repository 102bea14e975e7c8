"""Journeys through executors, classes and health, in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from browser_tab import CHROMIUM, Tab
from console_data import write_shown
from pages_server import serving
from playwright.sync_api import expect
from test_executors_section import IMAGE, Engine

from mir_ops.catalog import Catalog
from mir_ops.console.app import create_app
from mir_ops.console.health.examining import examine_workspace
from mir_ops.console.sources import Sources

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]

PATIENCE = 60_000  # milliseconds


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sources]:
    folder = tmp_path_factory.mktemp("upkeep")
    catalog = Catalog.open(f"sqlite:///{folder / 'catalog.db'}")
    opened = Sources(write_shown(folder).store, catalog)
    opened.workspace = replace(
        opened.workspace, store_url=opened.store.url, engine=Engine(), work_dir=Path("/")
    )  # type: ignore[arg-type]
    yield opened
    catalog.close()


@pytest.fixture(scope="module")
def url(sources: Sources) -> Iterator[str]:
    app = create_app(
        lambda: sources,
        may=lambda _request, _action, _project: True,
        examine=lambda: examine_workspace(lambda: sources.workspace, label_tool=None),
    )
    with serving(app) as address:
        yield address


def test_op_adds_an_image_and_removes_it_again(
    url: str, sources: Sources, tab: Tab, picture: Callable[[str], None]
) -> None:
    page = tab.page
    page.set_default_timeout(PATIENCE)
    page.goto(f"{url}/executors")
    page.get_by_text("Public images").click()
    page.get_by_role("link", name="Copy youdaoyzbx/ymir-executor:ymir2.0.0-yolov5").click()
    page.get_by_role("button", name="Add").click()
    # What the API says stands in the form that asked.
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("docker pull", timeout=PATIENCE)
    assert tab.complaints.pop().startswith("Failed to load resource")

    page.get_by_label("Image, as").fill(IMAGE)
    page.get_by_label("Name (by").fill("mine")
    page.get_by_role("button", name="Add").click()
    page.wait_for_url("**/executors/mine")
    expect(page.get_by_role("heading", name="mine")).to_be_visible()
    sources.workspace.catalog.executors.keep_check(
        "mine",
        digest="sha256:" + "a" * 64,
        clauses={"train-exit": ("passed", ""), "train-monitor": ("failed", "no last record")},
    )
    page.reload()
    expect(page.get_by_text("1 clause failed")).to_be_visible()
    picture("executor")
    page.goto(f"{url}/executors")
    picture("executors")

    page.get_by_role("link", name="mine").click()
    page.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="Cancel").click()
    assert [each.name for each in sources.workspace.catalog.executors.list()] == ["mine"]
    page.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="Go on").click()
    page.wait_for_url("**/executors")
    assert sources.workspace.catalog.executors.list() == []
    assert tab.complaints == []


def test_user_renames_a_class_and_reads_it_in_chinese(
    url: str, sources: Sources, tab: Tab, picture: Callable[[str], None]
) -> None:
    page = tab.page
    page.set_default_timeout(PATIENCE)
    page.goto(f"{url}/classes?q=cat")
    page.get_by_role("link", name="cat", exact=True).click()
    form = page.locator("form", has=page.get_by_label("Aliases")).last
    form.get_by_label("Name").fill("Kitten")
    form.get_by_label("Aliases").fill("moggy\npuss")
    with page.expect_navigation():
        form.get_by_role("button", name="Save").click()
    expect(page.get_by_role("cell", name="moggy, puss, cat").first).to_be_visible()
    picture("class")

    page.get_by_role("button", name="中文").click()
    expect(page.get_by_role("link", name="类别").first).to_be_visible(timeout=PATIENCE)
    page.goto(f"{url}/executors")
    assert page.get_attribute("html", "lang") == "zh"
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("heading", name="Executors")).to_be_visible(timeout=PATIENCE)
    assert tab.complaints == []


def test_person_reads_what_does_not_work(
    url: str, tab: Tab, picture: Callable[[str], None]
) -> None:
    page = tab.page
    page.goto(f"{url}/projects/nothing-of-that-name")
    page.get_by_role("link", name="Health").click()

    expect(page.get_by_role("row", name="catalog works")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("row", name="store works")).to_be_visible()
    picture("health")
    assert [each for each in tab.complaints if "404" not in each] == []
