"""What holds for every page: safe, in Airflow's frame, behind a base path, on a phone, by keyboard.

The pages are read off the app: one that is new is tried too, or its address is asked for here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from browser_tab import CHROMIUM, Tab
from console_data import HOSTILE, Client
from model_data import NEWER, OLDER, Shelf, write_shelf
from pages_server import serving
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route

from mir_ops.console.access import rules
from mir_ops.console.app import create_app
from mir_ops.console.headers import PAGE_POLICY
from mir_ops.console.health.examining import examine_workspace
from mir_ops.console.sources import Sources

BASE = "/below/mir"
FRAME = (
    '<iframe sandbox="allow-scripts allow-same-origin allow-forms allow-downloads" '
    f'src="{BASE}/" width="390" height="800" style="border:0"></iframe>'
)
# Of images, not of pages.
BYTES = ("/bytes", "/thumbnail", "/masks", "/signed/{token}", "/export")
QUERIES = {"/projects/{project}/models/compare": f"?model={OLDER}&model={NEWER}"}
# Of what these pages name, nothing exists here; their errors are pages as well.
ABSENT = {
    "/runs/{dag_id}/{run_id:path}": 404,
    "/projects/{project}/rounds/{number}/gates/{stage}": 404,
    "/projects/{project}/rounds/compare": 400,  # it asks for two rounds
}

# What can be used with a keyboard only has to say what it is; a field is named by its label.
NAMELESS = """() => [...document.querySelectorAll(
    "a[href], button, input, select, textarea, summary")]
  .filter((one) => one.type !== "hidden" && one.checkVisibility())
  .filter((one) => !(one.textContent.trim() || one.ariaLabel || one.title || one.labels?.length
    || one.getAttribute("aria-labelledby") || one.querySelector("img[alt], [aria-label]")))
  .map((one) => one.outerHTML.slice(0, 200))"""
WIDER = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@dataclass(frozen=True)
class Site:
    """The whole console with something on each page."""

    sources: Sources
    values: dict[str, str]

    @property
    def app(self) -> Starlette:
        return create_app(
            lambda: self.sources,
            may=lambda _request, _action, _project: True,
            examine=lambda: examine_workspace(lambda: self.sources.workspace, label_tool=None),
        )

    def paths(self) -> dict[str, str]:
        """The address of each page, by its route."""
        return {
            rule.path: re.sub(r"\{(\w+)(:path)?\}", lambda found: self.values[found[1]], rule.path)
            + QUERIES.get(rule.path, "")
            for rule in rules(create_app(lambda: self.sources))
            if rule.method == "GET" and "/api/" not in rule.path and not rule.path.endswith(BYTES)
        }


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return site_of(write_shelf(tmp_path_factory.mktemp("site"), images=9))


def site_of(shelf: Shelf) -> Site:
    sources = Sources(shelf.store, shelf.catalog)
    shelf.catalog.executors.add(
        name="mine", image=f"mine:{HOSTILE}", folder=None, digest=None, network=True,
        run_as_root=True, protocol="1.1.0", templates={2: {"train": {HOSTILE: HOSTILE}}},
    )  # fmt: skip
    commit = shelf.evaluations[NEWER]
    asset = shelf.store.read(commit).assets(columns=["asset_id"])["asset_id"][0].as_py().hex()
    values = {
        "project": "digits",
        "commit": commit.id,
        "asset_id": asset,
        "model": OLDER,
        "number": "1",
        "stage": "data",
        "name": "mine",
        "class_id": str(shelf.store.classes()[HOSTILE]),
        "dag_id": "round__digits",
        "run_id": "none",
    }
    return Site(sources, values)


@pytest.fixture(scope="module")
def served(site: Site) -> Iterator[str]:
    async def framed(_request: Request) -> HTMLResponse:
        return HTMLResponse(f'<!doctype html><link rel="icon" href="data:,">{FRAME}')

    mounted = Starlette(routes=[Route("/framed", framed), Mount(BASE, site.app)])
    with serving(mounted) as url:
        yield url


@pytest.mark.parametrize("language", ["en", "zh"])
def test_pages_are_safe_and_lead_on_wherever_they_are_mounted(site: Site, language: str) -> None:
    client = Client(site.app, root_path=BASE)
    headers = {"Cookie": f"mir_language={language}"}

    for route, path in site.paths().items():
        answer = client.get(path, headers=headers)

        assert answer.status_code == ABSENT.get(route, 200), (route, answer.text[-900:])
        assert answer.headers["content-security-policy"] == PAGE_POLICY, route
        assert answer.headers["x-content-type-options"] == "nosniff", route
        assert HOSTILE not in answer.text, route
        assert f'<html lang="{language}"' in answer.text, route
        assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", answer.text), route
        led = re.findall(r'\s(?:href|src|action|data-\w+)="([^"]*)"', answer.text)
        assert [found for found in led if found.startswith("/")] == [], route
        sent = re.findall(r'data-send="(\w+ [^"]*)"', answer.text)
        assert [each for each in sent if " api/v1/" not in each] == [], route


def test_address_that_cannot_be_read_is_a_page_too(site: Site) -> None:
    client = Client(site.app)

    for path in ("/classes/cat", "/projects/digits/rounds/first"):
        answer = client.get(path)
        assert answer.status_code == 400
        assert "This address names no page" in answer.text


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_pages_work_in_airflows_frame_on_a_phone(site: Site, served: str, tab: Tab) -> None:
    tab.page.set_viewport_size({"width": 420, "height": 850})
    tab.page.goto(f"{served}/framed")
    wide, nameless = {}, {}

    for route, path in site.paths().items():
        if route in ABSENT:
            continue
        frame = tab.page.frames[1]
        frame.goto(f"{served}{BASE}{path}")
        if over := frame.evaluate(WIDER):
            wide[route] = over
        if found := frame.evaluate(NAMELESS):
            nameless[route] = found

    assert (wide, nameless, tab.complaints) == ({}, {}, [])
    assert tab.page.url == f"{served}/framed"
    assert tab.elsewhere(served, f"blob:{served}") == []


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_keyboard_gets_past_the_navigation(site: Site, served: str, tab: Tab) -> None:
    tab.page.goto(f"{served}{BASE}/executors")

    tab.page.keyboard.press("Tab")
    assert tab.page.evaluate("document.activeElement.className") == "skip"
    tab.page.keyboard.press("Enter")
    assert tab.page.evaluate("document.activeElement.id") == "content"
    tab.page.keyboard.press("Tab")
    assert tab.page.evaluate("document.activeElement.tagName") == "A"
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_url("**/executors/*")


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_pages_are_dark_or_light_as_airflow_is(served: str, tab: Tab) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    tab.page.goto(f"{served}{BASE}/executors")
    light = tab.page.evaluate(colour)

    # Airflow's choice is kept where all pages of the origin can read it.
    tab.page.evaluate("localStorage.setItem('theme', 'dark')")
    tab.page.reload()
    dark = tab.page.evaluate(colour)
    tab.page.emulate_media(color_scheme="dark")
    tab.page.evaluate("localStorage.setItem('theme', 'light')")
    tab.page.reload()
    assert tab.page.evaluate(colour) == light
    tab.page.evaluate("localStorage.removeItem('theme')")
    tab.page.reload()

    assert tab.page.evaluate(colour) == dark != light
