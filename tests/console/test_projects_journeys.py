"""What a person does with projects and rounds: a real Chromium at a real Airflow API server."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from airflow_server import COOKIE, Guarded
from browser_tab import CHROMIUM, Tab
from console_data import Shown
from playwright.sync_api import expect

from mir_ops.catalog import Project
from mir_ops.rounds.steps import Place, open_round
from mir_ops.workspace import Workspace

pytest.importorskip("airflow")
pytestmark = [
    pytest.mark.airflow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]

Picture = Callable[[str], None]
PATIENCE = 120_000  # milliseconds


@pytest.fixture
def airflow(guarded: Guarded, tab: Tab) -> str:
    """The console's address; whoever uses the tab is an admin."""
    address = f"http://127.0.0.1:{guarded.port}"
    cookie = {"name": COOKIE, "value": guarded.tokens["admin"], "url": address}
    tab.page.context.add_cookies([cookie])  # type: ignore[list-item]
    tab.page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    return f"{address}/mir"


@pytest.fixture
def workspace(guarded: Guarded, shown: Shown) -> Workspace:
    """What the server works on."""
    return Workspace(
        store_url=shown.store.url,
        catalog_url=f"sqlite:///{guarded.home}/catalog.db",
        work_dir=guarded.home,
    )


@pytest.fixture
def walks(workspace: Workspace, guarded: Guarded) -> Project:
    """A project whose DAG Airflow knows."""
    catalog = workspace.catalog
    if (found := catalog.projects.find("walks")) is not None:
        return found
    mapping = {
        "name": "walks",
        "classes": ["cat"],
        "sources": {"pool": "data.zip"},
        "executor": {"name": "sample"},
    }
    assert guarded.send("writer", "/api/v1/projects", "POST", mapping).status == 201
    return catalog.projects.get("walks")


def test_a_project_is_made_and_changed_in_a_form(
    airflow: str, tab: Tab, workspace: Workspace, picture: Picture
) -> None:
    page = tab.page
    page.goto(airflow + "/")
    page.get_by_role("link", name="New project").click()
    page.fill("[name=name]", "gate")
    page.fill("[name=description]", "Cars and people at the gate")
    page.fill("[name=classes]", "car\nperson")
    page.fill("[name='sources.pool']", "nowhere.zip")
    page.fill("[name='executor.name']", "sample")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("alert")).to_contain_text("nowhere.zip` does not exist")

    page.fill("[name='sources.pool']", "data.zip")
    page.fill("[name='stop.target']", "0.85")
    page.fill("[name='stop.plateau.rounds']", "3")
    picture("project-form")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", name="gate", exact=True)).to_be_visible()

    page.get_by_role("link", name="Edit").click()
    page.fill("[name='stop.target']", "")
    page.get_by_text("More about training").click()
    page.fill("[name='executor.config.train']", "iterations: 40\nwords: a b")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="gate", exact=True)).to_be_visible()

    spec = workspace.catalog.projects.get("gate").spec
    assert spec.classes == ("car", "person")
    assert (spec.stop.target, spec.stop.plateau and spec.stop.plateau.rounds) == (None, 3)
    assert spec.executor.config.train == {"iterations": 40, "words": "a b"}
    assert tab.elsewhere(airflow) == []


def test_what_is_taken_out_of_a_form_is_gone_and_a_project_comes_back(
    airflow: str, tab: Tab, workspace: Workspace
) -> None:
    page, projects = tab.page, workspace.catalog.projects
    mapping = {
        "name": "fading",
        "classes": ["car"],
        "sources": {"pool": "data.zip"},
        "executor": {"name": "sample", "config": {"train": {"kept": 1, "gone": {"deep": True}}}},
        "stop": {"plateau": {"rounds": 3}},
    }
    asked = tab.page.request.post(
        f"{airflow}/api/v1/projects",
        data=json.dumps(mapping),
        headers={"Content-Type": "application/json", "Origin": airflow.removesuffix("/mir")},
    )
    assert asked.status == 201, asked.text()

    page.goto(f"{airflow}/projects/fading/edit")
    page.get_by_text("More about training").click()
    expect(page.locator("[name='executor.config.train']")).to_have_value(
        'kept: 1\ngone: {"deep": true}'
    )
    page.fill("[name='executor.config.train']", "kept: 1")
    page.fill("[name='stop.plateau.rounds']", "")
    page.fill("[name='stop.plateau.gain']", "")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="fading", exact=True)).to_be_visible()
    spec = projects.get("fading").spec
    assert (spec.executor.config.train, spec.stop.plateau) == ({"kept": 1}, None)

    page.goto(f"{airflow}/projects/fading/edit")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("heading", name="Projects")).to_be_visible()
    assert projects.find("fading") is None

    page.get_by_role("link", name="Deleted").click()
    page.get_by_role("row", name="fading").get_by_role("button", name="Restore").click()
    expect(page.get_by_role("heading", name="fading", exact=True)).to_be_visible()
    assert projects.find("fading") is not None


def test_a_round_is_started_and_stopped(
    airflow: str, tab: Tab, walks: Project, workspace: Workspace, picture: Picture
) -> None:
    page = tab.page
    page.goto(f"{airflow}/projects/{walks.key}")
    page.get_by_role("link", name="Start a round").click()
    expect(page.locator("[name=budget]")).to_have_value("100")
    page.fill("[name=budget]", "7")
    picture("round-start")
    run_id = f"console__{page.locator('[name=request]').input_value()}"
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("heading", name="walks", exact=True)).to_be_visible()
    run = f"{airflow.removesuffix('/mir')}/api/v2/dags/round__walks/dagRuns/{run_id}"
    asked = page.request.get(run).json()
    assert (asked["state"], asked["conf"]["budget"]) == ("queued", 7)

    # What its first task does.
    task = {"dag_id": walks.dag_id, "run_id": run_id, "task_id": "open_round"}
    place = Place(deployment="local", **task)
    opened = open_round(workspace, place, project=walks.key, conf=asked["conf"])
    page.goto(f"{airflow}/projects/{walks.key}/rounds/{opened['number']}")
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Go on").click()

    expect(page.get_by_text("Stopped in the console")).to_be_visible()
    assert workspace.catalog.rounds.get(opened["round_id"]).state == "failed"
    assert page.request.get(run).json()["state"] == "failed"
    page.goto(f"{airflow}/projects/{walks.key}/rounds/new")
    expect(page.locator("[name=budget]")).to_have_value("7")  # what a run says goes on to hold
    expect(page.get_by_text("since round")).to_be_visible()

    # Until another takes it back: all of it, or what is emptied.
    page.get_by_role("link", name="All as the project says").click()
    expect(page.locator("[name=budget]")).to_have_value("100")
    page.get_by_role("link", name="Let it count").click()
    page.fill("[name=budget]", "")
    run_id = f"console__{page.locator('[name=request]').input_value()}"
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("heading", name="walks", exact=True)).to_be_visible()
    run = f"{airflow.removesuffix('/mir')}/api/v2/dags/round__walks/dagRuns/{run_id}"
    conf = page.request.get(run).json()["conf"]
    assert (conf["as_project"], conf.get("budget"), conf["strategy"]) == (True, None, "hybrid")


def test_sending_a_start_again_starts_one_round(guarded: Guarded, walks: Project) -> None:
    path = f"/api/v1/projects/{walks.key}/rounds"
    sent = {"request": "0123456789abcdef"}

    first, second = (guarded.send("painter", path, "POST", sent) for _ in range(2))

    assert (first.status, second.status) == (202, 202), (first.body, second.body)
    assert first.body == second.body
    assert guarded.send("red", path, "POST", sent).status == 403


def test_links_lead_out_of_airflows_frame(
    guarded: Guarded, tab: Tab, walks: Project, workspace: Workspace
) -> None:
    run: dict[str, Any] = {"dag_id": walks.dag_id, "run_id": "run-framed"}
    turn = workspace.catalog.rounds.open(
        walks.key, deployment="local", spec=walks.spec, conf={}, **run
    )
    address = f"http://127.0.0.1:{guarded.port}"
    cookie = {"name": COOKIE, "value": guarded.tokens["admin"], "url": address}
    tab.page.context.add_cookies([cookie])  # type: ignore[list-item]
    tab.page.set_default_timeout(PATIENCE)

    try:
        tab.page.goto(f"{address}/plugin/mir/mir/projects/{walks.key}/rounds/{turn.number}")
        console = tab.page.frame_locator("iframe")
        console.get_by_role("link", name="Its run in Airflow").click()
        tab.page.wait_for_url(f"**/dags/{walks.dag_id}/runs/run-framed*")
    finally:
        workspace.catalog.rounds.fail(turn.id, reason="The test is over")
