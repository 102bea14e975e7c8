"""Under FAB as people meet it: find the console, change a password, give and take rights."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from airflow_server import FAB, PASSWORD, Guarded, ask_for_token, log_in
from browser_tab import CHROMIUM, Tab
from playwright.sync_api import expect

pytest.importorskip("airflow.providers.fab")
pytestmark = [
    pytest.mark.airflow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]

NEW = "a much longer password"


def enter(tab: Tab, fab: Guarded, user: str, password: str = PASSWORD) -> str:
    """Log in at the page that Airflow leads to; Airflow's address."""
    airflow = f"http://127.0.0.1:{fab.port}"
    tab.page.set_default_timeout(120_000)
    tab.page.goto(airflow)
    tab.page.wait_for_url(lambda url: "/auth/login" in url)
    tab.page.fill("#username", user)
    tab.page.fill("#password", password)
    tab.page.click("input[type=submit]")
    tab.page.wait_for_url(lambda url: "/auth/login" not in url)
    return airflow


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_viewer_finds_the_console_in_the_menu(fab: Guarded, tab: Tab) -> None:
    airflow = enter(tab, fab, "viewer")

    tab.page.get_by_role("link", name="Datasets").click()
    console = tab.page.frame_locator("iframe")
    console.get_by_role("heading", name="Projects").wait_for()

    expect(console.get_by_role("link", name="New project")).to_have_count(0)
    assert tab.elsewhere(airflow, f"blob:{airflow}") == []


def test_logging_out_ends_what_the_browser_could_do(fab: Guarded, tab: Tab) -> None:
    airflow = enter(tab, fab, "viewer")
    token = {each["name"]: each["value"] for each in tab.page.context.cookies()}["_token"]
    assert fab.ask(None, "/", Cookie=f"_token={token}").status == 200

    tab.page.goto(f"{airflow}/api/v2/auth/logout")
    tab.page.wait_for_url(lambda url: "/auth/login" in url)

    assert "_token" not in {each["name"] for each in tab.page.context.cookies()}
    assert fab.ask(None, "/", Cookie=f"_token={token}").status == 401


def test_an_admin_makes_a_user_and_gives_and_takes_its_roles(fab: Guarded, tab: Tab) -> None:
    airflow = enter(tab, fab, "admin")
    tab.page.goto(f"{airflow}/auth/users/add")
    for name, value in {
        "first_name": "Ada",
        "last_name": "L",
        "username": "ada",
        "email": "ada@example.org",
        "password": PASSWORD,
        "conf_password": PASSWORD,
    }.items():
        tab.page.fill(f"#{name}", value)
    tab.page.check("#active")
    tab.page.select_option("#roles", label="Viewer", force=True)
    tab.page.click("button[type=submit]")
    tab.page.wait_for_url(lambda url: "/users/add" not in url)
    token = log_in(fab.port, "ada")["_token"]
    may = {"Cookie": f"_token={token}"}
    assert [fab.ask(None, path, **may).status for path in ("/", "/new-project")] == [200, 403]

    def change(roles: list[str], *, active: bool = True) -> None:
        tab.page.goto(f"{airflow}/auth/users/list/?_flt_3_username=ada")
        tab.page.locator("a[href*='/users/edit/']").first.click()
        tab.page.select_option("#roles", label=roles, force=True)
        tab.page.set_checked("#active", active)
        tab.page.click("button[type=submit]")
        tab.page.wait_for_url(lambda url: "/users/edit/" not in url)

    # The token is the same all the time: rights are looked up anew every `[fab] cache_ttl`.
    change(["User"])
    wait_until(lambda: fab.ask(None, "/new-project", **may).status == 200)
    change(["Public"])
    wait_until(lambda: fab.ask(None, "/", **may).status == 403)
    change(["Admin"], active=False)
    wait_until(lambda: fab.ask(None, "/", **may).status == 401)
    assert ask_for_token(fab.port, "ada").status_code == 401


def test_a_password_changed_in_the_page_stays_when_the_stack_starts_anew(
    fab: Guarded, tab: Tab
) -> None:
    airflow = enter(tab, fab, "first")
    tab.page.goto(f"{airflow}/auth/resetmypassword/form")
    tab.page.fill("#password", NEW)
    tab.page.fill("#conf_password", NEW)
    tab.page.click("button[type=submit]")
    tab.page.wait_for_url(lambda url: "resetmypassword" not in url)

    said = start_anew(fab)

    assert "There is an admin already" in said
    assert PASSWORD not in said
    assert ask_for_token(fab.port, "first").status_code == 401
    assert ask_for_token(fab.port, "first", NEW).status_code == 201


def start_anew(fab: Guarded) -> str:
    """What the stack does with users each time that it starts; what it says."""
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "AIRFLOW_HOME": str(fab.home / "airflow"),
        "AIRFLOW__CORE__AUTH_MANAGER": FAB,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "FIRST_ADMIN": "first",
        "FIRST_ADMIN_PASSWORD": PASSWORD,
    }
    command = [sys.executable, "-m", "mir_airflow.first_users"]
    made = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return made.stdout + made.stderr
