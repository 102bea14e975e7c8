"""The two routes without a login, in a real Airflow: what a signature shows, and nothing else."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from airflow_server import SECRET, Guarded
from console_data import Shown

from mir_ops.catalog import Catalog, apply_project
from mir_ops.labeling.addresses import SignedImage, find_addresses, image_token, wake_url
from mir_ops.workspace import Workspace

pytest.importorskip("airflow")
pytestmark = pytest.mark.airflow


@pytest.fixture
def workspace(guarded: Guarded, shown: Shown) -> Workspace:
    return Workspace(
        store_url=shown.store.url,
        catalog_url=f"sqlite:///{guarded.home}/catalog.db",
        work_dir=guarded.home,
        console_url="https://airflow.example/mir/",
        image_secret=SECRET,
    )


def token_of(shown: Shown, **changes: object) -> str:
    image = {"project": "digits", "commit": shown.commit.id, "asset": shown.hex(0), **changes}
    ends = int(time.time()) + int(str(image.pop("seconds", 600)))
    secret = str(image.pop("secret", SECRET))
    return image_token(secret, SignedImage(**image), ends)  # type: ignore[arg-type]


def test_an_address_shows_its_image_to_anybody_for_an_hour(
    guarded: Guarded, shown: Shown, workspace: Workspace
) -> None:
    version = shown.store.read(shown.commit)
    found = find_addresses(workspace, "digits", version)([shown.hex(0)])
    path = found.urls[shown.hex(0)].removeprefix("https://airflow.example/mir")

    answer = guarded.ask(None, path)

    assert (answer.status, answer.body) == (200, shown.store.get_blob(shown.hex(0)))
    assert 3500 < (found.until - datetime.now(UTC)).total_seconds() <= 3600
    headers = answer.headers
    assert headers["content-type"] == "image/png"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert headers["access-control-allow-origin"] == "*"
    assert headers["cross-origin-resource-policy"] == "cross-origin"
    assert "set-cookie" not in headers


@pytest.mark.parametrize(
    "changes",
    [
        {"seconds": -1},
        {"seconds": 3700},
        {"secret": "some-other-secret-of-16"},
        {"project": "secret"},
        {"project": "-"},
        {"asset": "0" * 64},
        {"commit": "0" * 64},
    ],
)
def test_no_other_address_shows_anything(
    guarded: Guarded, shown: Shown, changes: dict[str, object]
) -> None:
    assert guarded.status(None, f"/signed/{token_of(shown)}") == 200
    assert guarded.status(None, f"/signed/{token_of(shown, **changes)}") == 404


def test_a_token_that_was_changed_anywhere_is_none(guarded: Guarded, shown: Shown) -> None:
    token = token_of(shown)
    for at in range(0, len(token), 7):
        other = "A" if token[at] != "A" else "B"
        assert guarded.status(None, f"/signed/{token[:at]}{other}{token[at + 1 :]}") == 404
    for strange in ("x", "%00", "a" * 5000, "====", "%ff", token[:-4], token + "AAAA"):
        assert guarded.status(None, f"/signed/{strange}") in (401, 404)


def test_everything_beside_the_two_routes_takes_a_login(guarded: Guarded, shown: Shown) -> None:
    token = token_of(shown)
    paths = [
        "/signed",
        "/signed/",
        f"/signed/{token}/x",
        f"//signed/{token}",
        "/hooks/",
        f"/projects/digits/signed/{token}",
        f"/signed/{token}/../../projects/digits",
    ]
    assert {path: guarded.status(None, path) for path in paths} == dict.fromkeys(paths, 401)
    assert guarded.status(None, f"/signed/{token}", "POST") == 401
    assert guarded.status(None, f"/signed/{token}", "DELETE") == 401
    assert guarded.status(None, f"/hooks/{token}") == 401


def test_a_hook_notes_that_somebody_labelled_and_nothing_else(
    guarded: Guarded, workspace: Workspace
) -> None:
    catalog = Catalog.open(workspace.catalog_url)
    round_id = a_round(catalog, guarded.home)
    catalog.label_tasks.add(
        round_id=round_id, op_id="ab" * 32, backend="label-studio", external_id="1", requested=3
    )
    hook, image = wake_url(workspace, "ab" * 32), wake_url(workspace, "cd" * 32)
    assert hook is not None
    assert image is not None
    before = datetime.now(UTC)

    assert guarded.status(None, hook.removeprefix("https://airflow.example/mir"), "POST") == 204

    (task,) = catalog.label_tasks.list(round_id)
    assert task.last_activity is not None
    assert task.last_activity >= before
    assert (task.done, task.state) == (0, "open")
    assert guarded.status(None, image.removeprefix("https://airflow.example/mir"), "POST") == 404
    assert guarded.status(None, "/hooks/" + "A" * 86, "POST") == 404


def a_round(catalog: Catalog, folder: Path) -> int:
    mapping = {
        "name": "digits",
        "classes": ["cat"],
        "sources": {role: str(folder / role) for role in ("training", "validation", "pool")},
        "executor": {"name": "sample"},
    }
    apply_project(catalog, mapping)
    spec = catalog.projects.get("digits").spec
    opened = catalog.rounds.open(
        "digits", deployment="t", dag_id="d", run_id="r", spec=spec, conf={}
    )
    return opened.id
