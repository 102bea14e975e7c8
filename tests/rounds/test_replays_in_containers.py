"""A round whose executors were containers is played in again in containers."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest
from round_data import TASKS, House, Run

from mir_ops.cli.main import main
from mir_ops.executor import run_job
from mir_ops.executor.images import find_digest
from mir_ops.rounds.record import read_record
from mir_ops.rounds.rerun import rerun_round
from mir_ops.workspace import Workspace

pytestmark = [pytest.mark.docker, pytest.mark.long, pytest.mark.timeout(600)]


@dataclass
class InContainers(House):
    """A house whose rounds run in containers, of an engine that others use too."""

    deployment: str = field(default_factory=lambda: f"tests-{secrets.token_hex(4)}")

    def workspace(self) -> Workspace:
        return replace(super().workspace(), runner="docker", deployment=self.deployment)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, sample_image: str) -> House:
    """A closed round."""
    assert sample_image
    house = InContainers(tmp_path_factory.mktemp("house"), {"train_after_merge": True})
    run = Run(house, "run-1", run_executor=partial(run_job, runner="docker"))
    run.all((*TASKS[:-1], "train_last", "evaluate_last", "close_round"))
    return house


def test_a_round_in_containers_comes_out_as_recorded(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MIR_STORE", house.ws.store_url)
    monkeypatch.setenv("MIR_CATALOG", house.ws.catalog_url)

    code = main(("--root", str(house.root), "round", "verify", "1"))

    said = capsys.readouterr()
    assert (code, "DIFFERS" in said.out) == (0, False), said.out
    assert "Round 1 came out as recorded" in said.err


def test_it_is_played_in_again_by_the_build_that_the_record_names(house: House) -> None:
    record = read_record(house.ws, house.ws.catalog.rounds.get_number("digits", 1).record)

    rerun = rerun_round(house.ws, "digits", 1)

    image = record["image"]
    assert (image["runner"], image["digest"]) == ("docker", find_digest(image["image"], None))
    assert rerun.replayed["image"] == image
    steps: list[Any] = [rerun.scratch.catalog.steps.find(1, name) for name in ("train", "mine")]
    assert [step.state for step in steps] == ["done", "done"]


def test_nothing_of_it_is_left_running(house: House, engine: Any) -> None:
    mine = {"label": f"mir.deployment={house.ws.deployment}"}

    assert engine.containers.list(all=True, filters=mine) == []
    assert list(house.ws.jobs_dir.glob("*")) == []
