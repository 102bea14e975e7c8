"""Journeys through the models of a project, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser_tab import CHROMIUM, Tab
from model_data import NEWER, OLDER, Shelf, write_package, write_shelf
from pages_server import serving
from playwright.sync_api import Locator, expect

from mir_ops.console.app import create_app
from mir_ops.console.models.looks import LooksHere
from mir_ops.console.sources import Sources
from mir_ops.demo.scenes import compose
from mir_ops.workspace import Workspace

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]

PATIENCE = 60_000  # milliseconds
MODELS = "/projects/digits/models"


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return write_shelf(tmp_path_factory.mktemp("shelf"))


@pytest.fixture(scope="module")
def usable(shelf: Shelf) -> Workspace:
    """With a model that really looks at pictures."""
    folder = Path(shelf.store.url.removeprefix("file://")).parent
    ws = Workspace(
        store_url=shelf.store.url,
        catalog_url=f"sqlite:///{folder}/catalog.db",
        work_dir=folder / "work",
    )
    write_package(folder, ws)
    return ws


@pytest.fixture(scope="module")
def url(shelf: Shelf, usable: Workspace) -> Iterator[str]:
    sources = Sources(shelf.store, shelf.catalog, looks=LooksHere(workspace=usable))
    app = create_app(lambda: sources, may=lambda _request, _action, _project: True)
    with serving(app) as address:
        yield address


@pytest.fixture
def patient(tab: Tab) -> Tab:
    tab.page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    return tab


def test_sliding_the_threshold_moves_everything_without_asking_the_server(
    url: str, patient: Tab, picture: Callable[[str], None]
) -> None:
    page = patient.page
    page.goto(f"{url}{MODELS}/{NEWER}")
    page.locator("#threshold[data-ready]").wait_for()
    before = told(page.locator("#threshold .figures"))
    asked = len(patient.requests)
    spot = page.locator(".mark").get_attribute("cx")
    picture("models-threshold")

    slider = page.get_by_label("Least confidence")
    slider.focus()
    for _ in range(30):
        slider.press("ArrowRight")

    after = told(page.locator("#threshold .figures"))
    assert after["Right"] < before["Right"]
    assert after["Not found"] > before["Not found"]
    assert after["Right"] + after["Not found"] == 120
    rows = page.locator("#threshold tbody tr")
    cells = [float(cell) for cell in rows.locator("[data-cell=tp]").all_inner_texts()]
    assert sum(cells) == after["Right"]
    assert page.locator(".mark").get_attribute("cx") != spot
    line = page.locator("[data-movable]").get_attribute("points")
    page.locator("[data-class]").select_option("dog")
    assert told(page.locator("#threshold .figures"))["Right"] < after["Right"]
    assert page.locator("[data-movable]").get_attribute("points") != line
    assert len(patient.requests) == asked
    assert patient.complaints == []


def told(figures: Locator) -> dict[str, float]:
    names, values = (figures.locator(each).all_inner_texts() for each in ("dt", "dd"))
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def test_a_cell_of_the_matrix_opens_the_images_of_that_mistake(
    url: str, patient: Tab, shelf: Shelf
) -> None:
    page = patient.page
    page.goto(f"{url}{MODELS}/{OLDER}")
    cell = page.locator(".matrix tbody tr", has_text="dog").locator("td").first.locator("a")
    count = int(cell.inner_text())

    cell.click()

    page.wait_for_url(re.compile(rf"/versions/{shelf.evaluations[OLDER].id}/images\?"))
    # Each image has one dog: as many images as dogs that were taken for cats.
    expect(page.locator("[role=status]").first).to_have_text(re.compile(rf" of {count} *$"))
    assert patient.complaints == []


def test_two_models_are_chosen_and_compared(
    url: str, patient: Tab, picture: Callable[[str], None]
) -> None:
    page = patient.page
    page.goto(f"{url}{MODELS}")
    compare = page.get_by_role("button", name="Compare two")
    expect(compare).to_be_disabled()
    for model in (OLDER, NEWER):
        page.locator(f"input[value='{model}']").check()

    compare.click()

    expect(page.get_by_text("B is better", exact=True)).to_be_visible()
    expect(page.get_by_text("95 % interval").first).to_be_visible()
    picture("models-comparison")
    page.get_by_label("Metric").select_option("map50_95")
    page.wait_for_url(re.compile("metric=map50_95"))
    expect(page.get_by_text("B is better", exact=True)).to_be_visible()
    assert patient.complaints == []


def test_a_picture_is_looked_at_and_its_boxes_follow_the_threshold(
    url: str, patient: Tab, tmp_path: Path, usable: Workspace, picture: Callable[[str], None]
) -> None:
    page = patient.page
    (model,) = (
        each.model_id for each in usable.catalog.packages.list() if "<b>dog" in each.classes
    )
    (scene,) = compose("validation", 1, seed=0)
    photo = tmp_path / scene.name
    photo.write_bytes(scene.content)
    page.goto(f"{url}{MODELS}/{model}/verify")
    page.get_by_label("Executor").select_option("sample")
    page.locator("input[type=file]").set_input_files(photo)

    page.get_by_role("button", name="Look").click()

    slider = page.get_by_label("Least confidence")
    slider.wait_for()
    slider.fill("0")
    boxes = page.locator("[data-boxes] .shape")
    expect(boxes).to_have_count(2)  # what the sample invents
    expect(page.locator(".status")).to_have_text("2 of 2 boxes")
    picture("models-look")
    slider.fill("1")
    expect(boxes).to_have_count(0)
    expect(page.locator(".status")).to_have_text("0 of 2 boxes")
    assert page.locator("b").count() == 0  # the class `<b>dog` is text
    assert patient.complaints == []


def test_who_promotes_a_model_is_asked_first(url: str, patient: Tab) -> None:
    page = patient.page
    page.goto(f"{url}{MODELS}/{NEWER}")
    page.get_by_role("button", name="Promote").click()
    page.get_by_role("button", name="Cancel").click()
    assert page.locator("h1 .badge").count() == 0

    page.get_by_role("button", name="Promote").click()
    page.get_by_role("button", name="Go on").click()

    expect(page.locator("h1 .badge")).to_have_text("production")
    assert patient.complaints == []
