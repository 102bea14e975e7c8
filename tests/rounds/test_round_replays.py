"""A closed round is played in again from its record, and comes out the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from round_data import TASKS, House, Run

from mir_ops.catalog import apply_project
from mir_ops.cli.main import main
from mir_ops.errors import NotFoundError
from mir_ops.rounds.comparing import compare_rounds
from mir_ops.rounds.record import read_record
from mir_ops.rounds.rerun import rerun_round
from mir_ops.rounds.verifying import verify_rerun

QUICK = tuple(task for task in TASKS if task != "gate_data")
MINING = {"strategy": "random", "budget": 4, "control": 0.25, "exclude": "chunk"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """Two closed rounds with seeds that only their runs named; the project is another now."""
    mining = {"mining": MINING, "pool": {"sample": 5}}
    house = House(tmp_path_factory.mktemp("house"), mining, pool=13)
    Run(house, "run-1", {"seed": 11}).all(QUICK)
    Run(house, "run-2", {"seed": 12, "budget": 3}).all(QUICK)
    apply_project(house.ws.catalog, {**house.project(), "seed": 99, "classes": ["one", "two"]})
    return house


@dataclass
class Tampered:
    """Rewrites the record of round 2 for a while."""

    house: House

    def __call__(self, change: Callable[[dict[str, Any]], None]) -> None:
        rounds = self.house.ws.catalog.rounds
        round_ = rounds.get_number("digits", 2)
        record = read_record(self.house.ws, round_.record)
        change(record)
        blob = self.house.ws.store.put_blob(json.dumps(record, sort_keys=True).encode())
        rounds.close(round_.id, record=blob)


@pytest.fixture
def tamper(house: House) -> Any:
    round_ = house.ws.catalog.rounds.get_number("digits", 2)
    yield Tampered(house)
    assert round_.record is not None
    house.ws.catalog.rounds.close(round_.id, record=round_.record)


@pytest.fixture
def mir(house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setenv("MIR_STORE", house.ws.store_url)
    monkeypatch.setenv("MIR_CATALOG", house.ws.catalog_url)

    def run(*words: str) -> tuple[int, str, str]:
        code = main(("--root", str(house.root), *words))
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def everything(house: House) -> dict[str, Any]:
    store = house.ws.store
    return {
        "branches": {branch.name: (branch.seq, branch.tip().id) for branch in store.branches()},
        "tags": store.tags(),
        "objects": sorted(store.objects.list("")),
        "rounds": house.ws.catalog.rounds.list(),
        "steps": [house.ws.catalog.steps.list(each.id) for each in house.ws.catalog.rounds.list()],
        "models": house.ws.catalog.models.list(),
        "packages": house.ws.catalog.packages.list(),
    }


def test_a_rerun_makes_the_same_versions_and_picks_and_changes_nothing(house: House) -> None:
    before = everything(house)

    rerun = rerun_round(house.ws, "digits", 2)

    checks = verify_rerun(rerun)
    assert [check for check in checks if not check.same] == []
    assert {check.what for check in checks} >= {
        "trained_on", "evaluation", "pool", "mining", "mined", "labels", "training",
        "model", "metrics", "chosen",
    }  # fmt: skip
    assert len(rerun.replayed["chosen"]) == 3
    commits = rerun.recorded["commits"], rerun.replayed["commits"]
    assert commits[0]["mined"] != commits[1]["mined"]  # it was made again
    assert everything(house) == before


def test_without_its_seed_a_round_comes_out_differently(house: House, tamper: Any) -> None:
    """The record holds the seed that the run named, not the project's."""

    def forget(record: dict[str, Any]) -> None:
        record["spec"]["seed"] = 99

    tamper(forget)
    different = {check.what for check in verify_rerun(rerun_round(house.ws, "digits", 2))
                 if not check.same}  # fmt: skip

    assert {"pool", "mined", "chosen", "model"} <= different
    assert "trained_on" not in different


def test_an_interrupted_rerun_goes_on(house: House) -> None:
    class KilledError(Exception):
        pass

    def dies(step: str) -> None:
        if step == "mine":
            raise KilledError

    with pytest.raises(KilledError):
        rerun_round(house.ws, "digits", 1, on_step=dies)
    rerun = rerun_round(house.ws, "digits", 1)

    (model,) = rerun.scratch.catalog.models.list()
    step = rerun.scratch.catalog.steps.find(model.round_id, "open_round")
    assert step is not None
    assert model.created_at < step.started_at  # of the second try: the model is the first one's
    assert all(check.same for check in verify_rerun(rerun))


def test_verify_says_what_differs(house: House, tamper: Any, mir: Any) -> None:
    def swap(record: dict[str, Any]) -> None:
        record["chosen"][0]["asset"], record["metrics"]["map50"] = "00" * 32, 0.123

    tamper(swap)
    code, out, err = mir("round", "verify", "2")

    assert code == 1
    told = [line.split()[1] for line in out.splitlines() if line.startswith("DIFFERS")]
    assert told == ["metrics", "metrics.map50", "chosen", "chosen[0].asset"]
    assert "differs from its record in 4 places" in err


def test_a_round_that_is_not_closed_cannot_be_played_in_again(tmp_path: Path) -> None:
    house = House(tmp_path)
    Run(house, "run-1").task("open_round")

    with pytest.raises(NotFoundError) as caught:
        rerun_round(house.ws, "digits", 1)
    assert caught.value.code == "no-record"


def test_two_rounds_side_by_side(house: House, mir: Any) -> None:
    found = compare_rounds(house.ws, "digits", 1, 2)

    assert found.data["images (train)"] == (10, 13)
    assert found.data["boxes"] == (28, 34)
    assert sum(pair[1] or 0 for pair in found.classes.values()) == 34
    assert found.cost["images"] == (4, 3)
    assert found.settings == {"mining.budget": (4, 3), "seed": (11, 12)}
    assert found.metrics["map50"][0] is not None

    code, out, _ = mir("round", "compare", "1", "2")
    lines = {" ".join(line.split()[:2]): line.split() for line in out.splitlines()}
    assert code == 0
    assert lines["settings seed"] == ["settings", "seed", "11", "12", "+1"]
    assert lines["data boxes"][-3:] == ["28", "34", "+6"]
    said = json.loads(mir("--json", "round", "compare", "1", "2")[1])
    assert said["rounds"] == [1, 2]
    assert said["settings"]["mining.budget"] == [4, 3]


def test_a_record_says_what_the_round_cost(house: House, mir: Any) -> None:
    record = read_record(house.ws, house.ws.catalog.rounds.get_number("digits", 1).record)
    cost = record["cost"]

    assert (cost["images"], cost["boxes"], cost["annotator_seconds"]) == (4, 8, 0.0)
    for what in ("training", "evaluation", "mining"):
        used = cost["executors"][what]
        assert 0 < used["cpu_seconds"] < 60
        assert 0 < used["seconds"] < cost["wall_seconds"]
        assert used["gpu_seconds"] == 0
    images = sum(path.stat().st_size for path in house.root.glob("store/blobs/sha256/*/*")
                 if path.read_bytes()[:4] == b"\x89PNG")  # fmt: skip
    assert cost["stored_bytes"]["images"] == images
    assert cost["stored_bytes"]["rows"] > 0
    package = house.ws.catalog.models.list()[0].package
    assert cost["stored_bytes"]["models"] == len(house.ws.store.get_blob(package))
    second = read_record(house.ws, house.ws.catalog.rounds.get_number("digits", 2).record)
    assert second["cost"]["stored_bytes"]["images"] == 0

    said = mir("round", "show", "1")[1]
    assert "People: 4 images, 8 boxes, 0 seconds." in said
    assert "Training: " in said
