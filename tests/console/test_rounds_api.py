"""Rounds and label tasks by pages and the JSON API, where there is no Airflow."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
from console_data import HOSTILE, Shown
from project_story import PROJECT, ask_for_labels, leave, open_round, tell_story
from sqlalchemy import text

from mir_ops.catalog import Catalog, apply_project
from mir_ops.catalog.connections import writing
from mir_ops.console.access import Action
from mir_ops.console.app import create_app
from mir_ops.console.sources import Sources

ROUNDS = "/api/v1/projects/digits/rounds"


class Console:
    """The app with a catalog of its own; `rights` are what its caller may."""

    def __init__(self, shown: Shown, folder: Path, made_catalog: Path) -> None:
        self.rights: set[Action] = {"read", "edit", "operate", "publish", "delete"}
        copied = shutil.copy(made_catalog, folder / "catalog.db")
        self.catalog = Catalog.open(f"sqlite:///{copied}")
        self.project = tell_story(self.catalog, shown)
        self.sources = Sources(shown.store, self.catalog, sharing_dir=folder)
        self.app = create_app(
            lambda: self.sources, may=lambda _request, action, _project: action in self.rights
        )

    def ask(self, method: str, path: str, sent: object = None) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
                return await client.request(method, path, json=sent)

        return asyncio.run(send())

    def get(self, path: str) -> Any:
        answer = self.ask("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def problem(self, path: str, sent: object = None) -> tuple[int, str]:
        answer = self.ask("POST", path, sent or {})
        return answer.status_code, answer.json()["error"]["code"]


@pytest.fixture(scope="module")
def console(shown: Shown, made_catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> Console:
    """Nothing that a test asks of it changes it."""
    return Console(shown, tmp_path_factory.mktemp("rounds"), made_catalog)


@pytest.fixture
def own(shown: Shown, made_catalog: Path, tmp_path: Path) -> Console:
    return Console(shown, tmp_path, made_catalog)


def test_standings_say_targets_against_where_a_project_is(console: Console) -> None:
    (found,) = console.get("/api/v1/standings")["projects"]

    assert [(goal["what"], goal["current"], goal["target"]) for goal in found["goals"]] == [
        ("target", 0.6, 0.9),
        ("rounds", 2, 5),
        ("labelled_images", 43, 200),
        ("labelled_boxes", 79, None),
    ]
    assert found["round"]["number"] == 3
    assert found["round"]["waiting"]["what"] == "labels"
    assert (found["round"]["waiting"]["answered"], found["round"]["waiting"]["asked"]) == (3, 5)
    assert found["round"]["waiting"]["who"] == [HOSTILE]


def test_a_round_says_what_it_took_did_and_left(console: Console) -> None:
    listed = console.get(ROUNDS)["rounds"]
    assert [(one["number"], one["state"], one["map50"]) for one in listed] == [
        (1, "closed", 0.25), (2, "closed", 0.5), (3, "open", 0.6),
    ]  # fmt: skip

    detail = console.get(f"{ROUNDS}/2")
    assert detail["conf"] == {"budget": 4}
    assert detail["steps"][0]["name"] == "open_round"
    assert detail["next"]["parameters"]["budget"]["value"] == 4
    assert console.get(f"{ROUNDS}/2/record")["metrics"]["map50"] == 0.5
    assert console.get(f"{ROUNDS}/next")["parameters"]["strategy"] == {
        "value": "random", "round": None,
    }  # fmt: skip


def test_chosen_images_come_with_their_reasons(console: Console, shown: Shown) -> None:
    found = console.get(f"{ROUNDS}/2/chosen?offset=1&limit=2")

    assert found["total"] == 5
    assert [(one["asset"], one["rank"], one["answer"]) for one in found["images"]] == [
        (shown.hex(1), 1, "skipped"), (shown.hex(2), 2, None),
    ]  # fmt: skip
    assert found["images"][0]["reason"] == f"entropy {HOSTILE}"


def test_two_rounds_are_compared_as_on_the_command_line(console: Console) -> None:
    found = console.get(f"{ROUNDS}/compare?first=1&second=2")

    assert found["metrics"]["map50"] == [0.25, 0.5]
    assert found["classes"]["cat"] == [50, 50]
    page = console.ask("GET", "/projects/digits/rounds/compare?first=1&second=2").text
    assert "+0.250" in page
    assert HOSTILE not in page


@pytest.mark.parametrize(
    "path",
    [
        "/", "/?q=digits", "/deleted-projects", "/new-project", "/projects/digits",
        "/projects/digits?against=people&compared=boxes&until=1", "/projects/digits/edit",
        "/projects/digits/rounds/new", "/projects/digits/rounds/1", "/projects/digits/rounds/3",
        "/projects/digits/labels",
    ],
)  # fmt: skip
def test_names_with_markup_show_as_text(console: Console, path: str) -> None:
    answer = console.ask("GET", path)

    assert answer.status_code == 200
    assert HOSTILE not in answer.text


def test_what_is_not_there_is_not_found(console: Console) -> None:
    for path in (f"{ROUNDS}/9", f"{ROUNDS}/3/record", "/api/v1/projects/digits/labels/none"):
        assert console.ask("GET", path).status_code == 404
    assert console.ask("GET", "/projects/digits/rounds/9").status_code == 404
    assert console.ask("GET", "/projects/nobody").status_code == 404


def test_a_project_that_is_not_valid_any_more_says_why(own: Console) -> None:
    with writing(own.catalog.engine) as session:
        spec = {**own.project.spec.to_mapping(), "clases": [HOSTILE]}
        values = {"key": "odd", "name": "odd", "spec": json.dumps(spec), "at": "2026-01-02"}
        session.execute(
            text(
                "INSERT INTO mir_projects (key, name, spec, created_at, updated_at)"
                " VALUES (:key, :name, :spec, :at, :at)"
            ),
            values,
        )

    page = own.ask("GET", "/").text

    assert "Project <code>odd</code> in the catalog: Unknown project parameter" in page
    assert "Apply a corrected file of <code>odd</code> with <code>mir project apply" in page
    assert "projects/digits" in page
    assert HOSTILE not in page
    assert "odd" not in own.ask("GET", "/?q=digits").text


def test_a_project_that_was_deleted_says_so(own: Console) -> None:
    own.catalog.rounds.fail(own.catalog.rounds.get_number("digits", 3).id, reason="enough")
    own.catalog.projects.delete("digits")

    assert "digits" not in own.ask("GET", "/").text
    assert "projects/digits/restore" in own.ask("GET", "/deleted-projects").text


def test_without_airflow_the_command_is_shown(console: Console) -> None:
    assert "mir round fail 3 --project digits" in console.ask("GET", "/projects/digits").text
    assert console.problem(ROUNDS) == (409, "round-open")
    assert console.problem(f"{ROUNDS}/3/stop") == (409, "no-airflow")
    assert console.problem(f"{ROUNDS}/3/answer", {"option": "Approve"}) == (409, "no-airflow")


def test_a_round_is_not_started_with_what_a_run_would_refuse(own: Console) -> None:
    own.catalog.rounds.fail(own.catalog.rounds.get_number("digits", 3).id, reason="enough")

    assert own.problem(ROUNDS) == (409, "no-airflow")
    assert own.problem(ROUNDS, {"budget": 0}) == (422, "invalid-parameter")
    assert own.problem(ROUNDS, {"project": "other"}) == (422, "invalid-parameter")
    assert own.problem(ROUNDS, {"request": "not hex"}) == (422, "invalid-parameter")
    assert own.problem(ROUNDS, {"new_data": "../../etc"}) == (422, "outside-sharing-folder")


def test_stopping_a_round_that_is_over_changes_nothing(console: Console) -> None:
    answer = console.ask("POST", f"{ROUNDS}/2/stop")

    assert answer.json() == {"number": 2, "state": "closed"}


def test_a_round_waits_for_a_word_on_its_model(own: Console) -> None:
    turn = own.catalog.rounds.get_number("digits", 3)
    leave(
        own.catalog,
        turn,
        import_labels={"commit": None, "done": 0},
        check_end={"last": True, "reason": "All rounds are done"},
    )
    assert own.get(f"{ROUNDS}/3")["round"]["waiting"] is None  # its last model is not measured yet

    leave(own.catalog, turn, evaluate_last={"metrics": {"map50": 0.7, "map50_95": 0.3}})
    now = own.get(f"{ROUNDS}/3")["round"]
    assert (now["waiting"]["what"], now["final_map50"]) == ("approval", 0.7)

    leave(own.catalog, turn, approve_model={"approved": True})
    assert own.get(f"{ROUNDS}/3")["round"]["waiting"] is None


def test_label_tasks_say_how_far_people_are(console: Console) -> None:
    (task,) = console.get("/api/v1/projects/digits/labels")["tasks"]

    assert (task["done"], task["skipped"], task["requested"]) == (2, 1, 5)
    assert task["by"] == {HOSTILE: 3}
    assert (task["waits"], task["page"]) == (True, "https://labels.example.org/projects/17")
    assert console.get(f"/api/v1/projects/digits/labels/{task['id']}") == task


def test_label_tasks_of_no_round_are_listed_too(own: Console) -> None:
    address = "/api/v1/projects/digits/labels"
    own.catalog.label_tasks.add_outside(
        project="digits", branch=f"digits/{HOSTILE}", dag_id="dataset_label", run_id="by-hand",
        op_id="ab" * 32, backend="folder", external_id="18", requested=7,
    )  # fmt: skip

    task, of_round = own.get(address)["tasks"]
    page = own.ask("GET", "/projects/digits/labels").text
    assert own.problem(f"{address}/{task['id']}/enough") == (409, "nothing-labelled")
    own.catalog.label_tasks.update(task["id"], done=3)
    said = own.ask("POST", f"{address}/{task['id']}/enough")
    own.catalog.label_tasks.update(task["id"], state="closed")

    assert (task["round"], task["branch"], task["run_id"], task["requested"], task["waits"]) == (
        None, f"digits/{HOSTILE}", "by-hand", 7, True,
    )  # fmt: skip
    assert (of_round["round"], of_round["branch"], of_round["run_id"]) == (3, None, "run-3")
    assert "digits/&#34;&gt;&lt;script&gt;" in page
    assert said.status_code == 202
    assert own.catalog.label_tasks.find(task["id"]).enough_at is not None  # type: ignore[union-attr]
    assert own.problem(f"{address}/{task['id']}/fetch") == (409, "not-waiting")


def test_fetching_now_wakes_who_waits(own: Console) -> None:
    (task,) = own.get("/api/v1/projects/digits/labels")["tasks"]
    address = f"/api/v1/projects/digits/labels/{task['id']}/fetch"

    answer = own.ask("POST", address)
    assert (answer.status_code, answer.json()["last_activity"] is None) == (202, False)

    turn = own.catalog.rounds.get_number("digits", 3)
    leave(own.catalog, turn, import_labels={"commit": None, "done": 2})
    assert own.problem(address) == (409, "not-waiting")
    own.rights -= {"operate"}
    assert own.ask("POST", address).status_code == 403


def test_what_is_labelled_may_be_enough(own: Console) -> None:
    (task,) = own.get("/api/v1/projects/digits/labels")["tasks"]
    address = f"/api/v1/projects/digits/labels/{task['id']}/enough"
    turn = own.catalog.rounds.get_number("digits", 3)

    assert own.ask("POST", address).status_code == 202
    assert own.catalog.label_tasks.list(turn.id)[-1].enough_at is not None

    own.catalog.label_tasks.update(task["id"], done=0)
    assert own.problem(address) == (409, "nothing-labelled")
    leave(own.catalog, turn, import_labels={"commit": None, "done": 2})
    assert own.problem(address) == (409, "not-waiting")
    own.rights -= {"operate"}
    assert own.ask("POST", address).status_code == 403


def test_a_page_of_a_label_tool_is_a_link_only_by_http(own: Console) -> None:
    turn = own.catalog.rounds.get_number("digits", 3)
    op_id = ask_for_labels(own.catalog, turn)

    own.catalog.label_tasks.update(op_id, page="javascript:alert(1)")

    assert own.get(f"/api/v1/projects/digits/labels/{op_id}")["page"] is None
    assert "javascript:" not in own.ask("GET", "/projects/digits/labels").text


def test_many_rounds_are_shown_in_parts(own: Console, shown: Shown) -> None:
    other = apply_project(own.catalog, {**PROJECT, "name": "long"})
    for number in range(10, 30):
        turn = open_round(own.catalog, other, number)
        leave(own.catalog, turn, merge_labels={"commit": shown.commit.id})
        own.catalog.rounds.close(turn.id, record="0" * 64)

    newest = own.ask("GET", "/projects/long").text
    older = own.ask("GET", "/projects/long?until=12").text

    assert ">Round 20</th>" in newest
    assert ">Round 12</th>" not in newest
    assert ">Round 12</th>" in older
    assert "until=20" in older
