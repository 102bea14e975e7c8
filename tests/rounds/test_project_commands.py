"""`mir project` and `mir round`, as a person uses them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from round_data import House, Run
from sqlalchemy import select

from mir_ops.catalog.connections import writing
from mir_ops.catalog.tables import ProjectRow
from mir_ops.cli.main import main
from mir_ops.errors import ConflictError, InvalidInputError
from mir_ops.rounds.airflow_api import AirflowClient


@pytest.fixture
def mir(house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs one command: exit code, stdout, stderr."""
    monkeypatch.chdir(house.root)
    monkeypatch.setenv("MIR_STORE", house.ws.store_url)
    monkeypatch.setenv("MIR_CATALOG", house.ws.catalog_url)

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(words)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def write_project(house: House, **changes: Any) -> Path:
    path = house.root / "birds.yaml"
    path.write_text(yaml.safe_dump({**house.project(), "name": "birds", **changes}))
    return path


def test_project_is_created_then_unchanged_then_changed(house: House, mir: Any) -> None:
    path = str(write_project(house))

    assert mir("project", "apply", "-f", path)[1] == "Project `birds`: created\n"
    assert mir("project", "apply", "-f", path)[1] == "Project `birds`: unchanged\n"
    said = mir("project", "apply", "-f", path, "--set", "mining.budget=9", "--json")[1]
    assert json.loads(said) == {
        "project": "birds",
        "done": "changed",
        "changes": {"mining.budget": {"before": 4, "after": 9}},
    }
    assert house.ws.catalog.projects.get("birds").spec.mining.budget == 9


def test_list_names_a_project_that_is_not_valid_any_more(house: House, mir: Any) -> None:
    mir("project", "apply", "-f", str(write_project(house)))
    with writing(house.ws.catalog.engine) as session:
        row = session.scalar(select(ProjectRow).where(ProjectRow.name == "birds"))
        assert row is not None
        row.spec = {**row.spec, "labels": {"backend": "gone"}}

    code, out, err = mir("project", "list", "--json")

    assert (code, "birds" in out) == (0, False)
    assert err.startswith("warning: Project `birds` in the catalog: Invalid project: `labels.")
    assert err.endswith(
        "hint: Apply a corrected file of `birds` with `mir project apply -f FILE`\n"
    )


def test_paths_of_a_file_are_relative_to_it(house: House, mir: Any) -> None:
    sources = {"training": "data/training.zip", "validation": "v", "pool": "p"}
    mir("project", "apply", "-f", str(write_project(house, sources=sources)))

    spec = house.ws.catalog.projects.get("birds").spec
    assert spec.sources.training == str(house.root / "data" / "training.zip")


def test_wrong_key_is_explained(house: House, mir: Any) -> None:
    code, out, err = mir("project", "apply", "-f", str(write_project(house, minning={})))
    assert (code, out) == (1, "")
    assert err == ("error: Unknown project parameter: `minning`\n\nhint: Did you mean `mining`?\n")


@pytest.mark.parametrize("text", ["a: [", "- 1", "!!python/object/apply:os.getcwd []"])
def test_file_that_is_no_mapping_is_refused(house: House, mir: Any, text: str) -> None:
    path = house.root / "bad.yaml"
    path.write_text(text)

    code, _, err = mir("project", "apply", "-f", str(path))

    assert code == 1
    assert "bad.yaml` is no" in err


def test_project_is_created_from_options_once(house: House, mir: Any) -> None:
    words = ("project", "create", "cats", "--classes", "cat,dog", "--training", "t",
             "--validation", "v", "--pool", "p", "--executor", "sample")  # fmt: skip

    assert mir(*words)[0] == 0
    assert mir(*words)[2].startswith("error: Project `cats` exists")
    assert yaml.safe_load(mir("project", "show", "cats")[1])["classes"] == ["cat", "dog"]
    assert [line.split()[0] for line in mir("project", "list")[1].splitlines()] == [
        "PROJECT",
        "cats",
        "digits",
    ]


def test_project_is_edited_and_says_what_changed(house: House, mir: Any) -> None:
    words = ("--budget", "9", "--strategy", "random", "--set", "stop.plateau={rounds: 3}")

    assert mir("project", "edit", "digits", *words)[1].splitlines() == [
        "Project `digits`: changed",
        "  mining.strategy: entropy → random",
        "  mining.budget: 4 → 9",
        "  stop.plateau: - → {'rounds': 3, 'gain': 0.005}",
    ]
    assert mir("project", "edit", "digits", *words)[1] == "Project `digits`: unchanged\n"
    mir("project", "edit", "digits", "--set", "stop.plateau=null")
    assert house.ws.catalog.projects.get("digits").spec.stop.plateau is None


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        ((), "There is nothing to change", "Say what, as `mir project edit digits --budget 200`"),
        (("--set", "x"), "`x` is not of the form KEY=VALUE", "Write the keys with dots"),
        (
            ("--set", "seed.a=1"),
            "Invalid project: `seed`: Input should be a valid integer",
            "docs/",
        ),
        (("--set", "seed=["), "The value of `seed=[` is not YAML", ""),
        (("--seed", "1", "--set", "seed.a=1"), "`seed.a` is below a value", "Set `seed` alone"),
        (("--set", "name=cats"), "The name of project `digits`", "Use `mir project rename digits"),
        (("--set", "name=c/t"), "Invalid project: `name`", "A name has lower-case letters"),
        (("--target", "1.5"), "Invalid project: `stop.target`: Input should be less", "docs/"),
    ],
)
def test_edit_that_cannot_be_is_explained(
    house: House, mir: Any, words: tuple[str, ...], error: str, hint: str
) -> None:
    before = house.ws.catalog.projects.get("digits")

    code, out, err = mir("project", "edit", "digits", *words)

    assert (code, out) == (1, "")
    assert err.startswith(f"error: {error}")
    assert f"hint: {hint}" in err or not hint
    assert house.ws.catalog.projects.get("digits") == before


def test_project_is_renamed_deleted_and_restored(house: House, mir: Any) -> None:
    said = mir("project", "rename", "digits", "numbers")
    assert said == (
        0, "Project `numbers`: renamed\n",
        "Its branches are still `digits/…`, its DAG `round__digits`\n",
    )  # fmt: skip
    (row,) = (json.loads(line) for line in mir("project", "list", "--json")[1].splitlines())
    assert (row["project"], row["branches"]) == ("numbers", "digits/")

    assert mir("project", "delete", "numbers")[:2] == (0, "Project `numbers`: deleted\n")
    assert mir("project", "list", "--json")[1] == ""
    (row,) = (json.loads(one) for one in mir("project", "list", "--deleted", "--json")[1:2])
    assert row["project"] == "numbers"
    assert (
        "hint: Bring it back with `mir project restore numbers`"
        in (mir("project", "show", "numbers")[2])
    )
    assert mir("project", "restore", "numbers")[1] == "Project `numbers`: restored\n"
    assert yaml.safe_load(mir("project", "show", "digits")[1])["name"] == "numbers"


def test_project_with_an_open_round_is_not_deleted(house: House, mir: Any) -> None:
    Run(house, "run-1").task("open_round")

    code, _, err = mir("project", "delete", "digits")
    assert (code, err.partition("\n")[0]) == (
        1, "error: Round 1 of `digits` is open: run `run-1` of `dag`",
    )  # fmt: skip
    assert mir("round", "fail", "1")[0] == 0
    assert mir("project", "delete", "digits")[0] == 0


def test_rounds_are_listed_shown_and_given_up(house: House, mir: Any) -> None:
    Run(house, "run-1").all(("open_round", "import_data"))

    (row,) = (json.loads(line) for line in mir("round", "list", "--json")[1].splitlines())
    assert (row["round"], row["state"], row["step"]) == (1, "open", "import_data done")
    shown = mir("round", "show", "1")
    assert "import_data  done" in shown[1]
    assert shown[2] == "Round 1 of `digits` is open, run `run-1`\n"
    assert mir("round", "fail", "1")[1] == "Round 1 of `digits`: failed\n"
    assert mir("round", "show", "2")[2].startswith("error: Project `digits` has no round 2")


class Airflow(BaseHTTPRequestHandler):
    """Just enough of Airflow's API to be asked for a run."""

    asked: list[tuple[str, Any]] = []  # noqa: RUF012
    states: list[str] = []  # noqa: RUF012  of the run, one for each time that it is asked for
    expired: list[str] = []  # noqa: RUF012  tokens that have run out
    troubles: list[int] = []  # noqa: RUF012  what the next requests are answered

    def do_GET(self) -> None:
        run = {"dag_id": "active_learning_round", "dag_run_id": "manual-1"}
        if "/taskInstances" not in self.path:
            state = self.states.pop(0)
            answer: Any = {**run, "state": state}
        elif "/logs/" in self.path:
            answer = {"content": ["InvalidInputError: The training version is empty"]}
        else:
            ended = {"map_index": -1, "try_number": 1}
            tasks = [{**ended, "task_id": "open_round", "state": "success"}]
            if len(self.states) < 2:
                tasks.append({**ended, "task_id": "train", "state": "failed"})
            answer = {"task_instances": tasks}
        self.send_response(503 if answer == {**run, "state": "away"} else 200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, body))
        if self.path != "/auth/token" and self.troubles:
            self.send_error(self.troubles.pop(0))
            return
        if self.headers["Authorization"] in self.expired:
            self.expired.remove(self.headers["Authorization"])
            self.send_error(401)
            return
        answer = (
            {"access_token": "t"}
            if self.path == "/auth/token"
            else {"dag_id": "active_learning_round", "dag_run_id": "manual-1", "state": "queued"}
        )
        self.send_response(201)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def airflow_url() -> Iterator[str]:
    Airflow.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Airflow)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_round_is_started_through_airflow(
    mir: Any, airflow_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIR_AIRFLOW_URL", airflow_url)
    monkeypatch.setenv("MIR_AIRFLOW_USER", "ann")
    monkeypatch.setenv("MIR_AIRFLOW_PASSWORD", "hunter2")

    code, out, err = mir("round", "start", "digits", "--budget", "3", "--no-wait")

    assert (code, err) == (0, "")
    assert out.startswith("Started `manual-1`: ")
    assert "hunter2" not in out
    login, (path, body) = Airflow.asked
    assert login == ("/auth/token", {"username": "ann", "password": "hunter2"})
    assert path == "/api/v2/dags/active_learning_round/dagRuns"
    assert body.pop("dag_run_id").startswith("manual__20")
    assert body == {"logical_date": None, "conf": {"project": "digits", "budget": 3}}


def test_start_shows_what_the_round_does_and_why_it_failed(
    mir: Any, airflow_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mir_ops.cli.round_follow.POLL_SECONDS", 0.01)
    monkeypatch.setattr("mir_ops.rounds.airflow_api.RETRY_AFTER_SECONDS", [0.01])
    monkeypatch.setenv("MIR_AIRFLOW_TOKEN", "t")
    Airflow.states[:] = ["queued", "away", "away", "running", "failed"]

    code, out, err = mir("round", "start", "digits", "--url", airflow_url)

    where = f"{airflow_url}/dags/active_learning_round/runs/manual-1"
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        f"Started `manual-1`: {where}",
        "open_round: success",
        "warning: Airflow failed, asked again and again: 503 Service Unavailable; going on asking",
        "train: failed",
        "error: `train`: The training version is empty",
        "",
        f"hint: Look at its tasks: {where}",
    ]


def test_start_without_an_address_says_how_to_give_one(mir: Any) -> None:
    code, _, err = mir("round", "start", "digits")
    assert code == 1
    assert "hint: Give `--url`, or set `MIR_AIRFLOW_URL`" in err


def test_a_run_that_a_busy_airflow_refused_is_asked_for_under_the_same_name(
    airflow_url: str,
) -> None:
    Airflow.troubles += [500, 409]  # its database was busy, and yet it had written the run
    Airflow.states[:] = ["queued"]
    with AirflowClient(airflow_url, token="t", trust_env=False) as client:
        run = client.trigger("active_learning_round")

    first, second = (body["dag_run_id"] for _, body in Airflow.asked)
    assert first == second
    assert run.state == "queued"

    Airflow.troubles += [409]
    with (
        AirflowClient(airflow_url, token="t", trust_env=False) as client,
        pytest.raises(ConflictError),
    ):
        client.trigger("active_learning_round", run_id="mine")


def test_a_token_that_has_run_out_is_asked_for_again(airflow_url: str) -> None:
    Airflow.expired.append("Bearer t")
    login = {"username": "mir", "password": "p"}
    with AirflowClient(airflow_url, **login, trust_env=False) as client:
        client.trigger("active_learning_round")

    runs = "/api/v2/dags/active_learning_round/dagRuns"
    assert [path for path, _ in Airflow.asked] == ["/auth/token", runs, "/auth/token", runs]

    Airflow.expired += ["Bearer t", "Bearer t"]
    with (
        AirflowClient(airflow_url, **login, trust_env=False) as client,
        pytest.raises(InvalidInputError),
    ):
        client.trigger("active_learning_round")
