"""The held-back answers: no step but the label tasks has a path to the oracle's store."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from round_data import TASKS, House, Run

from mir_ops.store import Store

EXECUTORS = Path(__file__).parents[2] / "executors"
LABEL_TASKS = ("create_label_task", "wait_for_labels", "import_labels")
SECRET = "oracle-of-delphi"
NOSY = """\
import os, pathlib, runpy, sys
print("environment", dict(os.environ), sys.argv, os.getcwd())
print("parent", pathlib.Path(f"/proc/{os.getppid()}/cmdline").read_bytes())
for path in sorted(pathlib.Path(os.environ["MIR_IN"]).parent.rglob("*")):
    print("file", path)
    if path.suffix in (".yaml", ".json", ".tsv", ".txt"):
        print(path.read_text())
start = %r
sys.path.insert(0, os.path.dirname(start))
runpy.run_path(start, run_name="__main__")
"""


@pytest.fixture
def opened() -> Any:
    """Every path that this process opens while the test runs."""
    paths: list[str] = []
    listening = [True]

    def listen(event: str, arguments: tuple[Any, ...]) -> None:
        if listening[0] and event in ("open", "os.listdir", "os.scandir") and arguments:
            paths.append(str(arguments[0]))

    sys.addaudithook(listen)  # can never be removed, only silenced
    yield paths
    listening[0] = False


def nosy_executor(folder: Path) -> dict[str, Any]:
    """An executor that prints all that it can see of its surroundings."""
    nosy = folder / "executors" / "nosy"
    nosy.mkdir(parents=True)
    (folder / "executors" / "sdk").symlink_to(EXECUTORS / "sdk")
    (nosy / "img-man").symlink_to(EXECUTORS / "sample" / "img-man")
    (nosy / "start.py").write_text(NOSY % str(EXECUTORS / "sample" / "start.py"))
    return {"name": "nosy", "image": "nosy:1", "folder": str(nosy)}


def test_only_label_tasks_reach_the_oracle(tmp_path: Path, opened: list[str]) -> None:
    house = House(tmp_path / "house", {"executor": nosy_executor(tmp_path)})
    there, hidden = house.root / SECRET, house.root / "hidden"
    run = Run(house, "run-1")

    for task in TASKS:
        opened.clear()
        if task in LABEL_TASKS:
            run.task(task)
            continue
        there.rename(hidden)  # whoever opens the oracle now fails
        try:
            run.task(task)
        finally:
            hidden.rename(there)
        assert [path for path in opened if SECRET in path] == []

    (model,) = house.ws.catalog.models.list("digits")
    assert model.log is not None
    seen = house.ws.store.get_blob(model.log).decode()
    assert "MIR_IN" in seen
    assert SECRET not in seen
    assert SECRET not in repr(house.ws)
    assert SECRET not in repr(run.backend)
    for path in (*tmp_path.rglob("catalog.db*"), *house.ws.work_dir.rglob("*")):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()


def test_step_that_opens_the_oracle_fails(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above would notice: this is a mining step that looks."""
    run = Run(house, "run-1")
    run.all(tuple(task for task in TASKS[: TASKS.index("mine")] if task != "gate_data"))
    url = house.oracle_url
    (house.root / SECRET).rename(house.root / "hidden")

    def looks(*_: object, **__: object) -> None:
        Store.open(url)

    monkeypatch.setattr("mir_ops.mining.select", looks)
    with pytest.raises(Exception, match="oracle"):
        run.task("mine")
    found = house.ws.catalog.steps.find(run.round_id, "mine")
    assert found is not None
    assert found.state == "failed"
