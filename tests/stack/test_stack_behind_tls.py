"""The stack as a team has it: TLS in front, by docker-compose.proxy.yaml and the example for nginx,
and tasks as the user to whom the work folder belongs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from browser_tab import CHROMIUM
from production_stack import DAG, DEMO, ROOT, Stack, running, skip_without, until
from tls_front import NAME, NGINX, Front, make_front

from mir_ops.demo.services import free_port
from mir_ops.rounds.airflow_api import AirflowClient, DagRun

pytestmark = [
    pytest.mark.docker,
    pytest.mark.browser,
    pytest.mark.long,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed"),
]

OTHER = 1001 if os.getuid() == 0 else os.getuid()


@dataclass(frozen=True, kw_only=True)
class Fronted:
    stack: Stack
    front: Front

    @property
    def inside(self) -> AirflowClient:
        """The port on loopback, which nobody but this machine reaches."""
        told = self.stack.settings
        return AirflowClient(
            f"http://127.0.0.1:{told['NGINX_PORT']}", username=told["FIRST_ADMIN"],
            password=told["FIRST_ADMIN_PASSWORD"], timeout=120.0, trust_env=False,
        )  # fmt: skip

    def token(self) -> dict[str, str]:
        """What a program gets through nginx."""
        told = self.stack.settings
        wanted = {"username": told["FIRST_ADMIN"], "password": told["FIRST_ADMIN_PASSWORD"]}
        answer = self.front.ask("/auth/token", "POST", wanted)
        return {"Authorization": f"Bearer {answer.raise_for_status().json()['access_token']}"}


@pytest.fixture(scope="module")
def fronted(
    engine: Any, sample_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fronted]:
    skip_without(engine)
    folder = tmp_path_factory.mktemp("fronted")
    front = make_front(folder / "front")
    settings = {
        "AIRFLOW_UID": str(OTHER),
        "NGINX_PORT": str(free_port()),
        "PUBLIC_URL": front.url,
        "LABEL_TOOL_HOST_IP": f"https://{NAME}",
    }
    overlays = [ROOT / "docker-compose.proxy.yaml"]
    with running(folder / "stack", engine=engine, overlays=overlays, **settings) as stack:
        labels = int(stack.settings["LABEL_TOOL_HOST_PORT"])
        with front.before(web=int(settings["NGINX_PORT"]), labels=labels):
            yield Fronted(stack=stack, front=front)


@pytest.fixture(scope="module")
def closed(fronted: Fronted) -> DagRun:
    """A round that a program started through nginx."""
    fronted.stack.bring(DEMO)
    until(lambda: DAG in fronted.inside.dag_ids(), f"Airflow knows {DAG}")
    asked = {"logical_date": None, "conf": {"project": DEMO}}
    path = f"/api/v2/dags/{DAG}/dagRuns"
    answer = fronted.front.ask(path, "POST", asked, headers=fronted.token())
    run_id = answer.raise_for_status().json()["dag_run_id"]
    return fronted.inside.wait_for_run(DAG, run_id, timeout=900)


def test_a_round_that_was_started_by_https_closes(fronted: Fronted, closed: DagRun) -> None:
    assert closed.state == "success"
    (round_,) = fronted.stack.catalog().rounds.list(DEMO)
    assert round_.state == "closed"


def test_all_that_tasks_left_in_the_work_folder_is_that_users(
    fronted: Fronted, closed: DagRun
) -> None:
    found = {path: path.stat().st_uid for path in (fronted.stack.work / "cache").rglob("*")}
    assert found
    assert set(found.values()) == {OTHER}
    said = fronted.stack.run_in("airflow-scheduler", "id", "-u")
    assert int(said) == OTHER


def test_people_log_in_by_https_and_see_the_round(fronted: Fronted, closed: DagRun) -> None:
    url, told = fronted.front.url, fronted.stack.settings
    with fronted.front.tab() as tab:
        tab.page.goto(f"{url}/mir/projects/{DEMO}?language=en")
        tab.page.wait_for_url(f"{url}/auth/login/**")
        tab.page.fill("#username", told["FIRST_ADMIN"])
        tab.page.fill("#password", told["FIRST_ADMIN_PASSWORD"])
        tab.page.click("input[type=submit]")
        tab.page.wait_for_url(f"{url}/mir/projects/{DEMO}?language=en")
        tab.complaints.clear()  # FAB's login page has an error of its own in its script
        tab.page.goto(f"{url}/mir/projects/{DEMO}/rounds/1?language=en")
        tab.page.get_by_role("heading").first.wait_for()

        cookies = {each["name"]: each for each in tab.page.context.cookies()}
        assert cookies["_token"]["secure"]
        assert tab.elsewhere(url, f"blob:{url}") == []
        assert tab.complaints == []
