"""`mir train`, `mining` and `infer` that are told to end take their executor with them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_guide_sequence import write_set

from mir_ops.cli.main import main
from mir_ops.executor.engine import open_engine
from mir_ops.executor.keeper import started_at
from mir_ops.executor.reaping import abandoned

GONE_SECONDS = 10.0
PATIENCE = 120.0
SETTINGS = {"executor_config": {"idle_seconds": 600}}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with data and a model."""
    folder = tmp_path_factory.mktemp("interrupted")
    root = ["--root", str(folder / "repo")]
    assert main(["init", *root]) == 0
    labels = "labels:\n- {id: 0, name: person}\n- {id: 1, name: cat}\n"
    (folder / "repo/.mir/labels.yaml").write_text(labels)
    for split, first in (("train", 0), ("val", 50)):
        index = write_set(folder / split, first, 3)
        words = ["import", "--index-file", str(index), "--gt-dir", f"{folder / split}/annotations"]
        assert main([*words, "--split", split, "--to", "data", *root]) == 0
    assert main(["train", "--src-revs", "data", "--to", "m0", "--executor", "sample", *root]) == 0
    return folder


@pytest.fixture
def typed(world: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a command whose executor takes ten minutes; its container is labelled like `tmp`."""
    started: list[subprocess.Popen[str]] = []
    (tmp_path / "slow.yaml").write_text(yaml.safe_dump(SETTINGS))

    def type_(
        command: str,
        executor: str,
        work: str = "work",
        more: Sequence[str] = (),
        **settings: object,
    ) -> subprocess.Popen[str]:
        config = {"executor_config": {**SETTINGS["executor_config"], **settings}}
        (tmp_path / "slow.yaml").write_text(yaml.safe_dump(config))
        words = [sys.executable, "-m", "mir_ops.cli.main", command, "--json", "--src-revs", "data"]
        words += ["--to", f"{command}-{tmp_path.name}", "--executor", executor]
        words += ["--task-config-file", f"{tmp_path}/slow.yaml", "-w", f"{tmp_path}/{work}"]
        words += ["--executant-name", tmp_path.name, *_more(command, world), *more]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        start = {"cwd": world / "repo", "text": True, "preexec_fn": _hear_hangups}
        started.append(subprocess.Popen(words, **start, **pipes))  # type: ignore[call-overload]
        return started[-1]

    yield type_
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def looking(world: Path, typed: Any, tmp_path: Path) -> Callable[[str], subprocess.Popen[str]]:
    """Starts an inference on one picture of a file, which takes ten minutes."""
    picture = next((world / "train").rglob("*.png"))
    (tmp_path / "index.txt").write_text(f"{picture}\n")

    def look(executor: str) -> subprocess.Popen[str]:
        return typed("infer", executor, more=("--index-file", f"{tmp_path}/index.txt"))

    return look


def _hear_hangups() -> None:
    """As from a terminal, although `nohup` may have started the tests."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.docker
@pytest.mark.parametrize(
    ("command", "number"),
    [
        ("train", signal.SIGTERM),
        pytest.param("train", signal.SIGHUP, marks=pytest.mark.long),
        pytest.param("train", signal.SIGINT, marks=pytest.mark.long),
        ("mining", signal.SIGTERM),
        ("infer", signal.SIGTERM),
    ],
)
def test_a_signal_takes_the_container_along(
    typed: Any, engine: Any, sample_image: str, tmp_path: Path, command: str, number: signal.Signals
) -> None:
    process = typed(command, sample_image)
    _until(lambda: _containers(engine, tmp_path), process)

    process.send_signal(number)
    start = time.monotonic()
    _, said = process.communicate(timeout=PATIENCE)

    assert time.monotonic() - start < GONE_SECONDS
    assert process.returncode == 128 + number, said
    assert "Interrupted" in said if number is signal.SIGINT else number.name in said
    assert _containers(engine, tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_takes_the_child_process_along(
    typed: Any, tmp_path: Path, number: signal.Signals
) -> None:
    process = typed("train", "sample")
    _until(lambda: list(tmp_path.glob("work/*/process.json")), process)
    (record,) = (json.loads(path.read_text()) for path in tmp_path.glob("work/*/process.json"))
    assert started_at(record["pid"]) == record["started"]

    process.send_signal(number)
    start = time.monotonic()
    _, said = process.communicate(timeout=PATIENCE)

    assert time.monotonic() - start < GONE_SECONDS
    assert process.returncode == 128 + number, said
    assert started_at(record["pid"]) != record["started"]


@pytest.mark.docker
def test_the_same_command_takes_over_the_container_of_a_killed_one(
    typed: Any,
    engine: Any,
    sample_image: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = typed("train", sample_image, idle_seconds=6)
    _until(lambda: _containers(engine, tmp_path), first)
    with open_engine() as client:
        assert _containers(engine, tmp_path)[0].name not in abandoned(client)
        first.kill()
        first.communicate()
        (left,) = _containers(engine, tmp_path)
        capsys.readouterr()
        main(["doctor", "--json"])
        told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        (finding,) = [one for one in told if one["part"] == "left containers"]
        assert left.name in finding["found"]
        assert left.name in finding["advice"].partition("docker rm --force")[2]

    again = typed("train", sample_image, idle_seconds=6)
    said, told = again.communicate(timeout=PATIENCE)

    assert again.returncode == 0, told
    assert json.loads(said.splitlines()[0])["stages"].keys() == {"first", "best"}
    assert _made(engine, tmp_path) == [left.id]
    assert _containers(engine, tmp_path) == []


@pytest.mark.docker
@pytest.mark.long
def test_a_container_that_works_in_another_folder_is_not_taken_over(
    typed: Any, engine: Any, sample_image: str, tmp_path: Path
) -> None:
    first = typed("train", sample_image, idle_seconds=1)
    _until(lambda: _containers(engine, tmp_path), first)
    first.kill()
    first.communicate()

    again = typed("train", sample_image, work="elsewhere", idle_seconds=1)
    _, told = again.communicate(timeout=PATIENCE)

    assert again.returncode == 0, told
    assert len(_made(engine, tmp_path)) == 2
    assert _containers(engine, tmp_path) == []


def test_nothing_is_left_of_a_killed_command_s_child_process(typed: Any, tmp_path: Path) -> None:
    first = typed("train", "sample", idle_seconds=2)
    _until(lambda: list(tmp_path.glob("work/*/process.json")), first)
    (record,) = (json.loads(path.read_text()) for path in tmp_path.glob("work/*/process.json"))
    first.kill()
    first.communicate()

    again = typed("train", "sample", idle_seconds=2)
    said, told = again.communicate(timeout=PATIENCE)

    assert again.returncode == 0, told
    assert json.loads(said.splitlines()[0])["stages"].keys() == {"first", "best"}
    assert started_at(record["pid"]) != record["started"]


@pytest.mark.docker
def test_the_next_command_removes_the_container_that_nobody_can_take_over(
    looking: Any, typed: Any, engine: Any, sample_image: str, tmp_path: Path
) -> None:
    killed = looking(sample_image)
    _until(lambda: _containers(engine, tmp_path), killed)
    (left,) = _containers(engine, tmp_path)
    alive = looking(sample_image)
    _until(lambda: len(_containers(engine, tmp_path)) == 2, alive)
    killed.kill()
    killed.communicate()

    other = typed("train", sample_image, idle_seconds=0)
    _, told = other.communicate(timeout=PATIENCE)

    assert other.returncode == 0, told
    (running,) = _containers(engine, tmp_path)
    assert running.id != left.id
    assert alive.poll() is None
    alive.terminate()
    alive.communicate(timeout=PATIENCE)
    assert _containers(engine, tmp_path) == []


def test_a_killed_look_at_pictures_leaves_no_child_process(looking: Any, tmp_path: Path) -> None:
    jobs = tmp_path / "work"
    process = looking("sample")
    _until(lambda: list(jobs.glob("*/process.json")), process)
    (record,) = (json.loads(path.read_text()) for path in jobs.glob("*/process.json"))
    assert started_at(record["pid"]) == record["started"]

    process.kill()
    process.communicate()

    deadline = time.monotonic() + GONE_SECONDS
    while started_at(record["pid"]) == record["started"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _more(command: str, world: Path) -> list[str]:
    if command == "train":
        return []
    top = ["--topk", "2"] if command == "mining" else []
    return ["--model-hash", _model(world), *top]


def _model(world: Path) -> str:
    words = [sys.executable, "-m", "mir_ops.cli.main", "--json", "models", "list"]
    done = subprocess.run(words, cwd=world / "repo", capture_output=True, text=True, check=True)
    return str(json.loads(done.stdout.splitlines()[0])["model"])


def _containers(engine: Any, place: Path) -> list[Any]:
    label = f"mir.executant={place.name}"
    found: list[Any] = engine.containers.list(
        all=True, filters={"label": label}, ignore_removed=True
    )
    return found


def _made(engine: Any, place: Path) -> list[str]:
    """The ids of all containers that this test's commands made."""
    label = f"mir.executant={place.name}"
    events = engine.events(
        since=int(time.time() - 300),
        until=int(time.time() + 1),
        filters={"event": "create", "label": label},
        decode=True,
    )
    return [event["id"] for event in events]


def _until(met: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not met():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)
