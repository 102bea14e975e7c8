"""Who gets in, decided by a real Airflow API server in a process of its own."""

from __future__ import annotations

import json

import pytest
from airflow_server import Guarded
from console_data import Shown

pytest.importorskip("airflow")
pytestmark = pytest.mark.airflow


@pytest.fixture
def paths(shown: Shown) -> list[str]:
    """One of each kind of address, those that do not exist included."""
    image = f"{shown.page}/images/{shown.hex(0)}"
    return [
        "/",
        "/static/console.css",
        "/static/nothing",
        "/docs",
        "/openapi.json",
        "/nothing",
        "/projects/digits",
        "/projects/unknown",
        "/projects/-/versions/" + shown.commit.id,
        shown.page,
        image,
        f"{image}/bytes",
        f"{image}/thumbnail",
        "//projects/digits",
        "/projects//digits",
        "/static/../projects/digits",
        "/%2e%2e/projects/digits",
        "/api/v1/projects",
        "/api/v1/projects/digits",
        "/api/v1/openapi.json",
        "/api/v1/nothing",
    ]


@pytest.mark.parametrize("user", [None, "expired", "logged-out"])
def test_nobody_gets_401_everywhere(guarded: Guarded, paths: list[str], user: str | None) -> None:
    assert {path: guarded.status(user, path) for path in paths} == dict.fromkeys(paths, 401)


@pytest.mark.parametrize("token", ["", "x", "Bearer", "null"])
def test_a_token_that_is_not_ours_is_nobody(guarded: Guarded, token: str) -> None:
    answer = guarded.ask(None, "/", Authorization=f"Bearer {token}")

    assert answer.status == 401


@pytest.mark.parametrize("user", ["none", "odd", "green"])
def test_a_user_without_the_right_gets_403_everywhere(
    guarded: Guarded, paths: list[str], user: str
) -> None:
    # `none` has no role, `odd` one that Airflow does not know, `green` a right to another DAG.
    assert {path: guarded.status(user, path) for path in paths} == dict.fromkeys(paths, 403)


@pytest.mark.parametrize("user", ["admin", "red", "ops"])
def test_who_may_read_the_projects_dag_sees_the_project(
    guarded: Guarded, shown: Shown, user: str
) -> None:
    image = f"{shown.page}/images/{shown.hex(0)}"
    for path in ("/", "/static/console.css", "/projects/digits", shown.page, image):
        assert guarded.status(user, path) == 200, path

    assert guarded.ask(user, f"{image}/bytes").body == shown.store.get_blob(shown.hex(0))
    assert guarded.status(user, "/docs") == 404
    assert guarded.status(user, "/openapi.json") == 404


def test_the_right_to_one_project_is_no_right_to_another(guarded: Guarded, shown: Shown) -> None:
    secret = f"/projects/secret/versions/{shown.other.id}"
    image = f"{secret}/images/{shown.other_ids[0].hex()}/bytes"

    for path in ("/projects/secret", secret, image):
        assert guarded.status("red", path) == 403
        assert guarded.status("blue", path) == 200
        assert guarded.status("ops", path) == 200


def test_another_projects_version_cannot_be_read_through_ones_own(
    guarded: Guarded, shown: Shown
) -> None:
    through = f"/projects/digits/versions/{shown.other.id}"

    assert guarded.status("red", through) == 404
    assert guarded.status("red", f"{through}/images/{shown.other_ids[0].hex()}/bytes") == 404


def test_versions_of_no_project_are_not_served(guarded: Guarded, shown: Shown) -> None:
    assert guarded.status("admin", f"/projects/-/versions/{shown.commit.id}") == 404


def test_a_bearer_token_counts_before_the_cookie(guarded: Guarded) -> None:
    bearer = f"Bearer {guarded.tokens['none']}"

    assert guarded.status("admin", "/", Authorization=bearer) == 403


@pytest.mark.parametrize(
    ("origin", "status"),
    [(None, 403), ("https://evil.example", 403), ("null", 403), ("same", 405)],
)
def test_a_cookie_changes_nothing_from_another_site(
    guarded: Guarded, origin: str | None, status: int
) -> None:
    headers = (
        {}
        if origin is None
        else {"Origin": f"http://127.0.0.1:{guarded.port}" if origin == "same" else origin}
    )

    assert guarded.status("admin", "/", "POST", **headers) == status


def test_refusals_say_which_right_it_takes(guarded: Guarded) -> None:
    answer = guarded.ask("red", "/projects/secret")

    assert answer.body.decode() == (
        "This page takes the right to read the DAG `round__secret` or `active_learning_round`"
    )
    assert answer.headers["x-content-type-options"] == "nosniff"


API = "/api/v1/projects"
PROJECT = {
    "name": "digits",
    "classes": ["one"],
    "sources": {"training": "data.zip", "validation": "data.zip", "pool": "data.zip"},
    "executor": {"name": "sample"},
}
ROUTES = {
    "list": ("GET", API, None),
    "show": ("GET", f"{API}/digits", None),
    "openapi": ("GET", "/api/v1/openapi.json", None),
    "create": ("POST", API, PROJECT),
    "edit": ("PATCH", f"{API}/digits", {"seed": 4}),
    "rename": ("POST", f"{API}/digits/rename", {"name": "digits"}),
    "delete": ("DELETE", f"{API}/digits", None),
    "restore": ("POST", f"{API}/digits/restore", None),
}
READ = {"list": 200, "show": 200, "openapi": 200}
EDIT = {"edit": 200, "rename": 200}
# Of the table, what is not 403. `create` is a conflict for who may: the project exists.
MAY = {
    "admin": {**READ, **EDIT, "create": 409, "delete": 200, "restore": 200},
    "keeper": {**READ, **EDIT, "create": 409},
    "writer": {**READ, **EDIT, "create": 409},
    "ops": READ,
    "painter": {**READ, **EDIT},
    "red": READ,
    "blue": {"list": 200, "openapi": 200},
    "green": {},
    "none": {},
    "odd": {},
}


@pytest.fixture(scope="module")
def digits(guarded: Guarded) -> None:
    answer = guarded.send("writer", API, "POST", PROJECT)
    assert answer.status == 201, answer.body


@pytest.mark.parametrize("user", [*MAY, None, "expired", "logged-out"])
@pytest.mark.usefixtures("digits")
def test_each_role_may_do_what_the_table_says(guarded: Guarded, user: str | None) -> None:
    refusal = 403 if user in MAY else 401
    expected = {**dict.fromkeys(ROUTES, refusal), **MAY.get(user or "", {})}

    found = {
        name: guarded.send(user, path, method, content).status
        for name, (method, path, content) in ROUTES.items()
    }

    assert found == expected


@pytest.mark.parametrize("origin", [None, "https://evil.example", "null"])
@pytest.mark.parametrize("name", ["create", "edit", "rename", "delete", "restore"])
@pytest.mark.usefixtures("digits")
def test_another_site_changes_no_project(guarded: Guarded, name: str, origin: str | None) -> None:
    method, path, content = ROUTES[name]
    headers = {"Content-Type": "application/json", **({"Origin": origin} if origin else {})}

    answer = guarded.ask("admin", path, method, json.dumps(content), **headers)

    assert answer.status == 403
    assert b"must come from this site" in answer.body


@pytest.mark.usefixtures("digits")
def test_renamed_project_belongs_to_whom_it_did(guarded: Guarded) -> None:
    guarded.send("painter", f"{API}/digits/rename", "POST", {"name": "numbers"})
    try:
        found = {
            user: guarded.send(user, f"{API}/numbers", "GET").status
            for user in ("admin", "painter", "red", "ops", "blue", "green")
        }
    finally:
        guarded.send("painter", f"{API}/digits/rename", "POST", {"name": "digits"})

    assert found == {
        "admin": 200, "painter": 200, "red": 200, "ops": 200, "blue": 403, "green": 403,
    }  # fmt: skip
