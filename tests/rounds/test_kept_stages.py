"""The models of a round: registered like any other, also what a failed training left."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from round_data import House, Run

from mir_ops.executor import ExecutorFailedError, run_job
from mir_ops.executor.models import choose_model


def test_model_of_a_round_is_listed_and_can_be_promoted(house: House) -> None:
    run = Run(house, "run")
    run.all(("open_round", "import_data", "merge_training", "train"))

    (model,) = run.ws.catalog.models.list("digits")
    (package,) = run.ws.catalog.packages.list()

    assert package.model_id == model.model_id
    assert package.state == "ready"
    assert package.package == model.package
    assert (package.origin["project"], package.origin["round"]) == ("digits", 1)
    assert choose_model(run.ws, model.model_id).stage == model.stage


def test_failed_training_of_a_round_keeps_its_stages(house: House) -> None:
    run = Run(house, "run")
    run.all(("open_round", "import_data", "merge_training"))
    step: Any = run.step("train")
    spec = step.entry.round.spec
    config = spec.executor.config.model_copy(update={"train": {"misbehave": "raise"}})
    executor = spec.executor.model_copy(update={"config": config})
    round_ = replace(step.entry.round, spec=spec.model_copy(update={"executor": executor}))
    step = replace(step, entry=replace(step.entry, round=round_))
    job = step.prepare()

    with pytest.raises(ExecutorFailedError) as caught:
        run_job(job)
    step.fail(str(caught.value))

    (package,) = run.ws.catalog.packages.list()
    assert (package.state, list(package.stages)) == ("failed", ["first", "best"])
    assert "lost my way" in package.origin["error"]
    assert run.ws.catalog.models.list("digits") == []
