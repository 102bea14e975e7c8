"""The console as a person meets it: in Airflow's navigation, after Airflow's login."""

from __future__ import annotations

import pytest
from airflow_server import PASSWORD, Guarded
from browser_tab import CHROMIUM, Tab
from console_data import Shown

pytest.importorskip("airflow")
pytestmark = [
    pytest.mark.airflow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


def log_in(tab: Tab, airflow: str, user: str) -> None:
    tab.page.set_default_timeout(60_000)
    tab.page.goto(airflow)
    tab.page.fill("input[name=username]", user)
    tab.page.fill("input[name=password]", PASSWORD)
    tab.page.click("button[type=submit]")
    tab.page.wait_for_url(lambda url: "/auth/login" not in url)


def test_a_person_gets_from_the_menu_to_an_image(guarded: Guarded, shown: Shown, tab: Tab) -> None:
    airflow = f"http://127.0.0.1:{guarded.port}"
    log_in(tab, airflow, "red")
    tab.page.get_by_role("link", name="Datasets").click()
    console = tab.page.frame_locator("iframe")
    console.get_by_role("heading", name="Projects").wait_for()

    tab.page.goto(f"{airflow}/plugin/mir/mir/projects/digits/versions/{shown.commit.id}/images")
    console.locator(".tile").first.click()
    console.get_by_role("heading", name="Annotations").wait_for()

    image = console.locator("img").first
    assert image.evaluate("image => image.complete && image.naturalWidth") == 96
    assert console.locator(".shape").first.is_visible()
    assert tab.elsewhere(airflow, f"blob:{airflow}") == []


def test_a_person_without_the_right_reads_why(guarded: Guarded, tab: Tab) -> None:
    airflow = f"http://127.0.0.1:{guarded.port}"
    log_in(tab, airflow, "green")

    tab.page.goto(f"{airflow}/mir/projects/digits")

    assert "takes the right to read the DAG" in tab.page.inner_text("body")
