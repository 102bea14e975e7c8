"""A project has its training version from the start: empty, and never exchanged."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from round_data import House, Run

from mir_ops.catalog import apply_project
from mir_ops.cli.main import main
from mir_ops.rounds.beginning import begin_training, find_training
from mir_ops.rounds.sticky import next_round
from mir_ops.store import Store

TRAINING = "birds/training"


@pytest.fixture
def mir(house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs one command: exit code and stderr."""
    monkeypatch.chdir(house.root)
    monkeypatch.setenv("MIR_STORE", house.ws.store_url)
    monkeypatch.setenv("MIR_CATALOG", house.ws.catalog_url)

    def run(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        return main(words), capsys.readouterr().err

    return run


def create(mir: Any) -> None:
    assert mir("project", "create", "birds", "--classes", "one,two", "--pool", "p")[0] == 0


def history(store: Store, branch: str) -> list[tuple[int, str]]:
    """Images and message of each version, newest first."""
    return [(commit.stats.assets, commit.message) for commit in store.branch(branch).log()]


def test_a_project_begins_with_an_empty_training_version(house: House, mir: Any) -> None:
    create(mir)

    store = house.ws.store
    assert history(store, TRAINING) == [(0, "Start the training data of birds")]
    assert store.branch(TRAINING).tip().project == "birds"
    assert next_round(house.ws, "birds")["training"] is None


def test_a_file_that_is_applied_twice_begins_once(house: House, mir: Any, tmp_path: Path) -> None:
    path = tmp_path / "birds.yaml"
    path.write_text("name: birds\nclasses: [one]\nsources: {pool: p}\nexecutor: {name: sample}\n")

    codes = [mir("project", "apply", "-f", str(path))[0] for _ in range(2)]

    assert codes == [0, 0]
    assert len(history(house.ws.store, TRAINING)) == 1


def test_several_who_begin_at_once_make_one_version(house: House) -> None:
    ready = threading.Barrier(4)

    def begin() -> None:
        store = Store.open(house.ws.store_url)
        ready.wait()
        begin_training(store, "birds")

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(history(house.ws.store, TRAINING)) == 1


def test_rounds_grow_the_version_that_the_project_began_with(house: House) -> None:
    store = house.ws.store
    begin_training(store, "digits")
    first = store.branch("digits/training").tip()

    run = Run(house, "run-1")
    run.all(("open_round", "import_data", "gate_data", "merge_training"))

    merged, begun = store.branch("digits/training").log()
    assert (begun, merged.stats.assets) == (first, 10)
    assert find_training(store, "digits") == merged


def test_a_project_without_one_gets_it_with_its_next_round(house: House) -> None:
    assert not house.ws.store.branch("digits/training").exists

    opened = Run(house, "run-1").task("open_round")

    assert opened["training"] is None
    assert history(house.ws.store, "digits/training") == [(0, "Start the training data of digits")]


def test_training_data_of_a_living_project_cannot_be_deleted(house: House, mir: Any) -> None:
    create(mir)
    mir("project", "rename", "birds", "fowl")

    assert mir("branch", "-D", TRAINING) == (
        1,
        "error: The branch `birds/training` cannot be deleted: it is the training data of project "
        "`fowl`\n\nhint: Delete the project first: `mir project delete fowl` keeps all data\n",
    )

    mir("project", "delete", "fowl")
    assert house.ws.store.branch(TRAINING).exists
    assert mir("branch", "-D", TRAINING)[0] == 0
    assert not house.ws.store.branch(TRAINING).exists

    mir("project", "restore", "fowl")
    Run(house, "run-1", project="birds").task("open_round")
    assert house.ws.store.branch(TRAINING).tip().stats.assets == 0


def test_other_branches_of_that_form_are_nobodys(house: House, mir: Any) -> None:
    apply_project(house.ws.catalog, {**house.project(), "name": "birds"})
    begin_training(house.ws.store, "cats")

    assert mir("branch", "-D", "cats/training")[0] == 0
