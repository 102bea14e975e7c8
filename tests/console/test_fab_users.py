"""Who gets in under FAB: roles of one project, logins, other sites, and odd addresses."""

from __future__ import annotations

import json

import httpx
import pytest
from airflow_server import COOKIE, Guarded, ask_for_token, log_in

pytest.importorskip("airflow.providers.fab")
pytestmark = pytest.mark.airflow

API = "/api/v1/projects"
# Every way in, and addresses that look like those that ask for no login.
PATHS = (
    "/",
    "//",
    "/nothing",
    "/docs",
    "/openapi.json",
    "/api/v1/openapi.json",
    "/api/v1/nothing",
    "/static/console.css",
    "/static/nothing",
    "/static/../projects/digits",
    "/static/%2e%2e/%2e%2e/app.py",
    "/..%2f..%2fetc/passwd",
    "/projects/digits",
    "//projects/digits",
    "/projects//digits",
    "/signed",
    "/signed/",
    "/signed/x/../../projects/digits",
    "/signed/x%2f..%2f..%2fprojects/digits",
    "/projects/digits;/signed/x",
    "/hooks/x",
    "/api/v1/signed/x",
)


def bearer(fab: Guarded, user: str) -> dict[str, str]:
    token = ask_for_token(fab.port, user).json()["access_token"]
    return {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}


def project(name: str) -> dict[str, object]:
    return {
        "name": name,
        "classes": ["one"],
        "sources": {"training": "data.zip", "validation": "data.zip", "pool": "data.zip"},
        "executor": {"name": "sample"},
    }


def test_nobody_gets_401_everywhere(fab: Guarded) -> None:
    assert {path: fab.status(None, path) for path in PATHS} == dict.fromkeys(PATHS, 401)


@pytest.mark.parametrize("user", ["viewer", "user", "op", "admin"])
def test_airflow_tells_every_role_of_the_console(fab: Guarded, user: str) -> None:
    cookie = {COOKIE: fab.tokens[user]}

    told = httpx.get(f"http://127.0.0.1:{fab.port}/api/v2/plugins", cookies=cookie, timeout=300)

    (mir,) = (each for each in told.json()["plugins"] if each["name"] == "mir")
    assert [each["name"] for each in mir["external_views"]] == ["Datasets", "Round"]


def test_who_opens_a_page_is_led_to_the_login_and_back(fab: Guarded) -> None:
    page = {"Accept": "text/html,*/*;q=0.8"}

    led = fab.ask(None, "/projects/digits?tab=a%26b", **page)

    assert led.status == 303
    assert led.headers["location"] == (
        "/api/v2/auth/login?next=%2Fmir%2Fprojects%2Fdigits%3Ftab%3Da%2526b"
    )
    assert fab.status(None, "/projects/digits", **page, **{"Sec-Fetch-Dest": "iframe"}) == 401
    assert fab.status(None, "/projects/digits", "POST", **page) == 401
    assert fab.status("none", "/projects/digits", **page) == 403


@pytest.mark.parametrize("user", ["none", "public"])
def test_a_user_without_a_role_that_reads_gets_403_everywhere(fab: Guarded, user: str) -> None:
    assert {path: fab.status(user, path) for path in PATHS} == dict.fromkeys(PATHS, 403)


@pytest.mark.parametrize("name", ["token", "access_token", "_token", "jwt"])
def test_a_token_in_the_address_is_nobodys(fab: Guarded, name: str) -> None:
    assert fab.status(None, f"/?{name}={fab.tokens['admin']}") == 401


def test_the_cookie_of_the_login_page_alone_is_nobodys(fab: Guarded) -> None:
    cookies = log_in(fab.port, "viewer")

    assert fab.status(None, "/", Cookie=f"session={cookies['session']}") == 401
    assert fab.status(None, "/", Cookie=f"{COOKIE}={cookies[COOKIE]}") == 200


@pytest.mark.parametrize(
    ("user", "edits", "operates"),
    [("reader", 403, 403), ("editor", 200, 403), ("keeper", 200, 422)],  # 422: nothing was named
)
def test_a_role_for_one_dag_counts_for_its_project_alone(
    fab: Guarded, user: str, edits: int, operates: int
) -> None:
    fab.send("admin", API, "POST", project("digits"))  # unless an earlier one made it

    found = {
        "reads": fab.status(user, "/projects/digits"),
        "reads another": fab.status(user, "/projects/secret"),
        "makes another": fab.send(user, API, "POST", project("mine")).status,
        "edits": fab.send(user, f"{API}/digits", "PATCH", {"seed": 4}).status,
        "deletes": fab.send(user, f"{API}/digits", "DELETE").status,
        "operates": fab.send(user, "/api/v1/executors", "POST", {}).status,
    }

    # Who may edit Airflow's connections may operate: the store itself is behind one.
    assert found == {
        "reads": 200,
        "reads another": 403,
        "makes another": 403,
        "edits": edits,
        "deletes": 403,
        "operates": operates,
    }


def test_a_role_for_one_dag_starts_its_rounds(fab: Guarded) -> None:
    fab.send("admin", API, "POST", project("walks"))
    rounds, other = f"{API}/walks/rounds", f"{API}/digits/rounds"

    assert fab.send("reader", rounds, "POST", {}).status == 403
    started = fab.send("editor", rounds, "POST", {})

    assert started.status == 202, started.body
    # Its project's own DAG is not there, and the one that runs any project's is not theirs.
    assert fab.send("editor", other, "POST", {}).status in (403, 404)


@pytest.mark.parametrize("origin", [None, "https://evil.example", "null"])
def test_another_site_changes_nothing_with_the_cookie(fab: Guarded, origin: str | None) -> None:
    headers = {"Content-Type": "application/json", **({"Origin": origin} if origin else {})}

    answer = fab.ask("admin", API, "POST", json.dumps(project("theirs")), **headers)

    assert answer.status == 403
    assert b"must come from this site" in answer.body


@pytest.mark.parametrize("how", ["cookie", "bearer"])
def test_a_commit_names_whoever_asked_for_it(fab: Guarded, how: str) -> None:
    name = f"made-by-{how}"
    body = json.dumps(project(name))
    made = (
        fab.send("user", API, "POST", project(name))
        if how == "cookie"
        else fab.ask(None, API, "POST", body, **bearer(fab, "user"))
    )
    assert made.status == 201, made.body

    log = json.loads(fab.ask("user", f"{API}/{name}/versions").body)

    assert [each["author"] for each in log["versions"]] == ["user"]
