"""Somebody labels in Label Studio's own page, in a browser, and it arrives as a commit."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import uvicorn
from browser_tab import CHROMIUM, open_tab
from playwright import sync_api
from round_data import BEFORE_LABELS, House, Run
from studio_people import People, log_in

from mir_ops.console.app import create_app
from mir_ops.console.sources import Sources
from mir_ops.demo.label_studio import LocalLabelStudio
from mir_ops.labeling.studio_client import StudioClient
from mir_ops.workspace import Workspace

pytestmark = [pytest.mark.long, pytest.mark.label_studio, pytest.mark.browser]

SECRET = "signs-addresses-of-images"


@contextmanager
def served(sources: list[Sources]) -> Iterator[str]:
    """The console, from which the browser loads images, on a port of its own."""
    config = uvicorn.Config(
        create_app(lambda: sources[0]), host="127.0.0.1", port=0, log_level="warning", ws="none"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def draw_box(page: sync_api.Page, label: str) -> None:
    """From a quarter of the picture to its half."""
    page.wait_for_function(
        "[...document.querySelectorAll('.konvajs-content canvas')].some(e => e.width > 50)"
    )
    modal = page.locator(".lsf-modal-ls_visible")
    if modal.count():
        modal.locator("button").last.click()
        modal.wait_for(state="hidden")
    page.locator(".lsf-label__text", has_text=label).first.click()
    canvas = page.locator(".konvajs-content").first.bounding_box()
    assert canvas is not None
    x, y, w, h = (canvas[side] for side in ("x", "y", "width", "height"))
    page.mouse.move(x + w / 4, y + h / 4)
    page.mouse.down()
    page.mouse.move(x + w / 2, y + h / 2, steps=5)
    page.mouse.up()


def test_a_box_drawn_in_the_page_arrives_as_a_commit(
    tmp_path: Path, studio: LocalLabelStudio
) -> None:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    sources: list[Sources] = []
    with served(sources) as console, StudioClient(studio.url, studio.login["token"]) as client:

        class StudioHouse(House):
            def workspace(self) -> Workspace:
                workspace = super().workspace()
                return replace(workspace, console_url=console, image_secret=SECRET)

        settings = {
            "labels": {"backend": "label-studio", "guide": "https://example.org/guide"},
            "mining": {"strategy": "entropy", "budget": 1, "control": 0},
        }
        run = Run(StudioHouse(tmp_path, settings), "run-1")
        run.backend = People(studio=studio, client=client).backend
        run.all(BEFORE_LABELS)
        sources.append(Sources(run.ws.store, run.ws.catalog, image_secret=SECRET))
        task_id = run.task("create_label_task")["task"]
        assert run.task("wait_for_labels") == {"complete": False}
        (task,) = People(studio=studio, client=client).tasks(task_id).values()
        seen = len(task["predictions"][0]["result"])

        with open_tab() as tab:
            page = tab.page
            log_in(page, studio)
            page.goto(f"{studio.url}/projects/{task_id.split('-')[0]}/data?labeling=1")
            draw_box(page, "two")
            with page.expect_response(lambda answer: "/annotations" in answer.url) as sent:
                page.get_by_test_id("bottombar-submit-button").click()
            assert sent.value.status == 201
            regions = sent.value.request.post_data_json["result"]
            (drawn,) = (each["value"] for each in regions if each["origin"] == "manual")
            assert drawn["width"] > 5
            shown = [url for url in tab.requests if url.startswith(f"{console}/signed/")]
            assert shown
            assert tab.elsewhere(studio.url, console, "blob:") == []

    assert run.task("wait_for_labels") == {"complete": True}
    version = run.ws.store.read(run.task("import_labels")["commit"])
    rows = version.layer("ground_truth").to_pylist()
    assert len(rows) == seen + 1  # what the model saw was there to correct, and was let stand
    row = next(row for row in rows if row["x"] == pytest.approx(drawn["x"] * 0.48, abs=1e-4))
    assert version.taxonomy.name_of(row["class_id"]) == "two"
    assert row["annotator"] == studio.login["user"]
    assert row["lead_time"] > 0
    for side, percent in (("y", "y"), ("w", "width"), ("h", "height")):
        assert row[side] == pytest.approx(drawn[percent] * 0.48, abs=1e-4)  # of 48 pixels
