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

from mir_ops.cli.main import main


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
    assert json.loads(said) == {"project": "birds", "done": "changed"}
    assert house.ws.catalog.projects.get("birds").spec.mining.budget == 9


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

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, body))
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

    code, out, err = mir("round", "start", "digits", "--budget", "3")

    assert (code, err) == (0, "")
    assert out.startswith("Started `manual-1`: ")
    assert "hunter2" not in out
    assert Airflow.asked == [
        ("/auth/token", {"username": "ann", "password": "hunter2"}),
        (
            "/api/v2/dags/active_learning_round/dagRuns",
            {"logical_date": None, "conf": {"project": "digits", "budget": 3}},
        ),
    ]


def test_start_without_an_address_says_how_to_give_one(mir: Any) -> None:
    code, _, err = mir("round", "start", "digits")
    assert code == 1
    assert "hint: Give `--url`, or set `MIR_AIRFLOW_URL`" in err
