"""Whether a round follows by itself, what labels are new, and the name that its model gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from round_data import TASKS, House, Run

from mir_ops.dataset import import_dataset
from mir_ops.labeling import open_backend
from mir_ops.rounds.continuing import continues, new_labels
from mir_ops.rounds.promoting import keep_answer, promote_model, proposal
from mir_ops.rounds.record import read_record

AFTER_TARGETS = TASKS[TASKS.index("prepare_pool") : TASKS.index("close_round")]
BEFORE_LABELS = tuple(
    task for task in TASKS[: TASKS.index("prepare_pool")] if not task.startswith("gate")
)
LABELS = tuple(task for task in AFTER_TARGETS if not task.startswith("gate"))
CONTINUOUS = {"schedule": {"continuous": True}}


def played(root: Path, settings: dict[str, Any]) -> Run:
    run = Run(House(root, settings), "run-1")
    run.all(BEFORE_LABELS)
    return run


def test_a_continuous_project_goes_on_with_new_labels(tmp_path: Path) -> None:
    run = played(tmp_path, CONTINUOUS)
    before = new_labels(run.ws, "digits")
    run.all(LABELS)

    assert continues(run.ws, run.round_id) == (True, "Another round may follow")
    assert (before, new_labels(run.ws, "digits")) == (0, 4)  # that no model has seen


def test_a_continuous_project_ends_when_its_labels_are_enough(tmp_path: Path) -> None:
    run = played(tmp_path, {**CONTINUOUS, "stop": {"labelled_images": 10}})
    run.all(LABELS)

    assert continues(run.ws, run.round_id) == (False, "10 labelled images of 10 are used")


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({}, "The project is not continuous"),
        ({**CONTINUOUS, "stop": {"labelled_images": 1}}, "6 labelled images of 1 are used"),
    ],
)
def test_a_round_that_nothing_follows_says_why(
    tmp_path: Path, settings: dict[str, Any], why: str
) -> None:
    run = played(tmp_path, settings)

    assert continues(run.ws, run.round_id) == (False, why)


def test_a_round_without_labels_is_not_followed_by_itself(tmp_path: Path) -> None:
    run = played(tmp_path, {**CONTINUOUS, "labels": {"backend": "folder"}})
    (tmp_path / "people").mkdir()
    run.backend = open_backend("folder", options={"path": str(tmp_path / "people")})
    run.all(tuple(task for task in LABELS if task != "wait_for_labels"))  # the time was over

    assert continues(run.ws, run.round_id) == (False, "No labels came")


def test_labels_that_somebody_imported_are_new(tmp_path: Path) -> None:
    run = played(tmp_path, {})
    more = House(tmp_path / "more").root / "data" / "validation.zip"  # images that are not here
    source = tmp_path / "others.zip"
    more.rename(source)

    import_dataset(run.ws.store, source, "digits/training", op_id="1" * 64, split="train")

    assert new_labels(run.ws, "digits") == 4


def test_a_project_without_a_name_for_models_promotes_none(tmp_path: Path) -> None:
    run = played(tmp_path, {})

    assert proposal(run.ws, run.round_id) is None
    assert promote_model(run.ws, run.place("promote_model"), run.round_id)["name"] is None


def test_the_newest_model_of_a_round_gets_the_projects_name(tmp_path: Path) -> None:
    run = played(tmp_path, {"promote": "best", "approve_model": True, "stop": {"rounds": 1}})
    first = proposal(run.ws, run.round_id)
    run.all((*LABELS, "train_last", "evaluate_last"))
    last = proposal(run.ws, run.round_id)
    place = run.place("approve_model")
    kept = keep_answer(run.ws, place, run.round_id, approved=True, by="ann")
    promoted = promote_model(run.ws, run.place("promote_model"), run.round_id)
    record = read_record(run.ws, run.task("close_round")["record"])

    assert first is not None
    assert last is not None
    models = [model.model_id for model in run.ws.catalog.models.list("digits")]
    assert [first.model, last.model] == models
    assert last.asks
    assert str(last).startswith(f"Model `{models[1][:12]}` would be called `best`: map50 ")
    assert promoted["model_id"] == run.ws.catalog.packages.promotion("best").model_id == models[1]
    assert (
        record["steps"]["approve_model"]
        == kept
        == {
            "model": models[1],
            "approved": True,
            "by": "ann",
        }
    )
    assert record["steps"]["promote_model"] == promoted
