"""People at the stack: the console behind FAB's login, and an image in Label Studio's page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from browser_tab import CHROMIUM, Tab, open_tab
from production_stack import DAG, Stack, running, skip_without, until

from mir_ops.labeling.studio_client import StudioClient

pytestmark = [
    pytest.mark.docker,
    pytest.mark.browser,
    pytest.mark.long,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]

PEOPLE = {"backend": "label-studio", "poll_seconds": 2, "timeout_days": 1}
DRAWN = "[...document.querySelectorAll('.konvajs-content canvas')].some(e => e.width > 50)"


@pytest.fixture(scope="module")
def asking(
    engine: Any, sample_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """A stack with Label Studio whose round waits for people."""
    skip_without(engine, "label-studio")
    folder = tmp_path_factory.mktemp("seen")
    with running(folder, "label-studio", engine=engine, LABEL_TOOL="label_studio") as stack:
        stack.bring("people", labels=PEOPLE)
        until(lambda: DAG in stack.client.dag_ids(), f"Airflow knows {DAG}")
        run = stack.client.trigger(DAG, conf={"project": "people"})
        until(
            lambda: stack.client.task_states(DAG, run.run_id).get("wait_for_labels") == "deferred",
            "the round waits for people",
        )
        yield stack


@pytest.fixture
def tab() -> Iterator[Tab]:
    with open_tab() as opened:
        opened.page.set_default_timeout(120_000)
        yield opened


def test_the_console_shows_the_round_behind_fabs_login(asking: Stack, tab: Tab) -> None:
    tab.page.goto(asking.url)
    tab.page.fill("#username", asking.settings["FIRST_ADMIN"])
    tab.page.fill("#password", asking.settings["FIRST_ADMIN_PASSWORD"])
    tab.page.click("input[type=submit]")
    tab.page.wait_for_url(lambda url: "/auth/login" not in url)

    tab.page.goto(f"{asking.url}/mir/")
    tab.page.get_by_role("link", name="people", exact=True).first.click()
    tab.page.get_by_role("heading", name="people").first.wait_for()

    assert tab.elsewhere(asking.url, f"blob:{asking.url}") == []


def test_label_studios_page_shows_an_image_of_the_console(asking: Stack, tab: Tab) -> None:
    with StudioClient(asking.label_url, asking.settings["LABEL_TOOL_TOKEN"]) as client:
        (project,) = client.get("/api/projects/", title="people round")["results"]
    tab.page.goto(f"{asking.label_url}/user/login/")
    tab.page.fill("input[name=email]", asking.settings["FIRST_ADMIN"])
    tab.page.fill("input[name=password]", asking.settings["FIRST_ADMIN_PASSWORD"])
    tab.page.click("button[type=submit]")
    tab.page.wait_for_url(lambda url: "/user/login" not in url)

    tab.page.goto(f"{asking.label_url}/projects/{project['id']}/data?labeling=1")
    tab.page.wait_for_function(DRAWN)

    assert [url for url in tab.requests if url.startswith(f"{asking.url}/mir/")] != []
