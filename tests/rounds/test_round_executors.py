"""Rounds with executors that people registered, and with models to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from round_data import House, Run

from mir_ops.cli.main import main
from mir_ops.errors import NotFoundError
from mir_ops.executor import Job, run_job
from mir_ops.executor.models import choose_model

BEFORE_MODEL = ("open_round", "import_data", "merge_training")


def test_a_registered_executor_runs_with_what_it_was_given(tmp_path: Path) -> None:
    house = House(tmp_path, {"executor": {"name": "mine"}})
    own = tmp_path / "executors" / "mine"
    assert main(["executor", "new", "mine", "--to", str(own)]) == 0
    _register(house, own)

    run = Run(house, "run")
    run.all((*BEFORE_MODEL, "train"))
    _register(house, own, run_as_root=False)

    executor = house.ws.catalog.rounds.get(run.round_id).spec.executor
    assert (executor.folder, executor.network, executor.run_as_root) == (str(own), False, True)
    assert executor.protocol == "1.0.0"
    (model,) = house.ws.catalog.models.list("digits")
    assert model.image["name"] == "mine"
    assert run.step("train").finished is not None


def test_an_executor_that_nobody_knows_opens_no_round(tmp_path: Path) -> None:
    house = House(tmp_path, {"executor": {"name": "nobodys"}})

    with pytest.raises(NotFoundError, match="No executor named `nobodys`"):
        Run(house, "run").task("open_round")

    assert house.ws.catalog.rounds.list() == []


def test_training_starts_from_the_model_that_the_project_or_the_run_names(house: House) -> None:
    first = Run(house, "first")
    first.all((*BEFORE_MODEL, "train"))
    model = choose_model(house.ws, house.ws.catalog.packages.list()[0].model_id)
    house.ws.catalog.packages.promote("street", model.package.model_id, "first")
    house.ws.catalog.rounds.fail(first.round_id, reason="enough")

    configs: list[Any] = []

    def keep_settings(job: Job, **more: Any) -> None:
        configs.append(yaml.safe_load((job.inputs / "config.yaml").read_text()))
        run_job(job, **more)

    second = Run(house, "second", {"pretrained": "street"}, run_executor=keep_settings)
    second.all((*BEFORE_MODEL, "train"))

    spec = house.ws.catalog.rounds.get(second.round_id).spec
    assert spec.pretrained == f"{model.package.model_id}@first"
    (config,) = configs
    assert config["pretrained_model_params"] == ["/in/models/first/model.json"]
    models = house.ws.catalog.models.list("digits")
    assert models[0].op_id != models[1].op_id  # other inputs, another operation


def test_a_model_that_nobody_knows_opens_no_round(house: House) -> None:
    with pytest.raises(NotFoundError, match="No model `nothing`"):
        Run(house, "run", {"pretrained": "nothing"}).task("open_round")

    assert house.ws.catalog.rounds.list() == []


def _register(house: House, folder: Path, *, run_as_root: bool = True) -> None:
    house.ws.catalog.executors.add(
        name="mine",
        image="mine:local",
        folder=str(folder),
        digest=None,
        network=False,
        run_as_root=run_as_root,
        protocol="1.0.0",
        templates={},
    )
