"""A tab of a real Chromium that keeps quiet about itself."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright import sync_api

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Tab:
    """A page, and everything that it asked for or complained about."""

    def __init__(self, page: sync_api.Page) -> None:
        self.page = page
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("requestfailed", self._miss)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(dialog.message))

    def _miss(self, request: sync_api.Request) -> None:
        # Leaving a page aborts what it was still loading.
        if request.failure != "net::ERR_ABORTED":
            self.complaints.append(request.url)

    def _hear(self, message: sync_api.ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def elsewhere(self, *allowed: str) -> list[str]:
        return [url for url in self.requests if not url.startswith((*allowed, "data:"))]


@contextmanager
def open_tab() -> Iterator[Tab]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield Tab(browser.new_page(viewport={"width": 1280, "height": 900}))
        browser.close()
