"""TLS in front: nginx with the file that we give people, before an API server with FAB."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from airflow_server import PASSWORD, Guarded, serve_fab
from browser_tab import CHROMIUM
from console_data import write_shown
from tls_front import ADDRESS, NAME, NGINX, Front, make_front

pytest.importorskip("airflow.providers.fab")
pytestmark = [
    pytest.mark.airflow,
    pytest.mark.browser,
    pytest.mark.long,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed"),
]


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Front:
    return make_front(tmp_path_factory.mktemp("front"))


@pytest.fixture(scope="module")
def guarded(front: Front, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """The server, with nginx before it."""
    home = tmp_path_factory.mktemp("proxied")
    settings = {"AIRFLOW__API__BASE_URL": front.url, "FORWARDED_ALLOW_IPS": "*"}
    with (
        serve_fab(write_shown(home / "shown"), home, **settings) as server,
        front.before(web=server.port, labels=server.port),
    ):
        yield server


def test_login_and_console_in_its_frame_work_by_https(front: Front, guarded: Guarded) -> None:
    with front.tab() as tab:
        tab.page.goto(f"{front.url}/mir/projects/digits?language=en")
        tab.page.wait_for_url(f"{front.url}/auth/login/**")
        tab.page.fill("#username", "user")
        tab.page.fill("#password", PASSWORD)
        tab.page.click("input[type=submit]")
        tab.page.wait_for_url(f"{front.url}/mir/projects/digits?language=en")
        tab.page.goto(front.url)
        tab.page.get_by_role("link", name="Datasets").click()
        console = tab.page.frame_locator("iframe")
        console.get_by_role("link", name="New project").click()
        console.locator("input[name=name]").wait_for()

        cookies = {each["name"]: each for each in tab.page.context.cookies()}
        assert cookies["_token"]["secure"]
        assert cookies["_token"]["httpOnly"]
        assert tab.elsewhere(front.url, f"blob:{front.url}") == []


def test_changes_must_come_from_the_name_that_was_asked(front: Front, guarded: Guarded) -> None:
    project = {
        "name": "proxied",
        "classes": ["one"],
        "sources": {"training": "data.zip", "validation": "data.zip", "pool": "data.zip"},
        "executor": {"name": "sample"},
    }
    cookie = {"Cookie": f"_token={guarded.tokens['user']}"}

    found = [
        front.ask(
            "/mir/api/v1/projects", "POST", project, headers={**cookie, "Origin": origin}
        ).status_code
        for origin in (f"https://{NAME}", f"http://127.0.0.1:{guarded.port}", front.url)
    ]

    assert found == [403, 403, 201]


def test_tokens_are_given_to_programs_until_they_are_asked_for_too_often(
    front: Front, guarded: Guarded
) -> None:
    wanted = {"username": "viewer", "password": PASSWORD}
    token = front.ask("/auth/token", "POST", wanted).json()["access_token"]

    assert (
        front.ask("/mir/", headers={"Authorization": f"Bearer {token}"}).status_code,
        front.ask("/mir/static/console.css").status_code,
    ) == (200, 401)
    wrong = {**wanted, "password": "guessed"}
    guesses = [front.ask("/auth/token", "POST", wrong).status_code for _ in range(40)]
    assert guesses[0] == 401
    assert guesses[-1] == 429


def test_plain_http_is_led_to_https(front: Front, guarded: Guarded) -> None:
    answer = httpx.get(
        f"http://{ADDRESS}:{front.port}/mir/", headers={"Host": f"{NAME}:{front.port}"}
    )

    assert (answer.status_code, answer.headers["location"]) == (301, f"{front.url}/mir/")
