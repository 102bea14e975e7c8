"""Two whole rounds with the sample executor as a process, seen from every side afterwards."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from round_data import TASKS, House, Run

from mir_ops.rounds.record import read_record
from mir_ops.store import Store, Version


@dataclass
class Played:
    house: House
    runs: tuple[Run, Run]
    results: tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]

    def version(self, rev: str) -> Version:
        return self.house.ws.store.read(rev)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    house = House(tmp_path_factory.mktemp("house"))
    first, second = Run(house, "run-1"), Run(house, "run-2")
    return Played(house, (first, second), (first.all(), second.all()))


def boxes_by_name(version: Version, ids: pa.Array) -> list[tuple[str, str, float, float]]:
    table = version.layer("ground_truth", ids=ids)
    return sorted(
        (row["asset_id"].hex(), version.taxonomy.name_of(row["class_id"]), row["x"], row["y"])
        for row in table.to_pylist()
    )


def test_training_version_grows_by_the_budget(played: Played) -> None:
    sizes = {
        tag: played.version(tag).stats.splits
        for tag in ("digits/training@r1", "digits/training@r2")
    }
    assert sizes == {
        "digits/training@r1": {"train": 10, "val": 4},
        "digits/training@r2": {"train": 14, "val": 4},
    }


def test_second_round_starts_where_the_first_ended(played: Played) -> None:
    first, second = played.results
    assert second["open_round"]["training"] == first["close_round"]["training"]
    assert second["merge_training"]["commit"] == first["close_round"]["training"]
    assert second["import_data"] == first["import_data"]


def test_no_image_is_labelled_twice(played: Played) -> None:
    picks = [played.version(result["mine"]["commit"]).asset_ids() for result in played.results]
    assert [len(pick) for pick in picks] == [4, 4]
    assert not pc.any(pc.is_in(picks[1], value_set=picks[0])).as_py()


def test_labels_are_the_oracles_by_class_name(played: Played) -> None:
    labels = played.version("digits/labels")
    truth = Store.open(played.house.oracle_url).read("truth")

    assert labels.stats.assets == 8
    assert boxes_by_name(labels, labels.asset_ids()) == boxes_by_name(truth, labels.asset_ids())
    assert labels.layer("ground_truth")["annotator"].unique().to_pylist() == ["oracle"]


def test_evaluations_keep_the_mark_of_every_prediction(played: Played) -> None:
    for result in played.results:
        evaluated = result["evaluate"]
        version = played.version(evaluated["commit"])
        found = version.layer(f"predictions:{evaluated['model_id']}")
        marks = [dict(tags)["eval_mark"] for tags in found["tags"].to_pylist()]

        metrics, operation = evaluated["metrics"], version.commit.operation
        assert metrics["predictions"] == len(marks) > 0
        for mark in ("tp", "fp"):
            assert marks.count(mark) == metrics["marks"][mark]
        assert operation.parameters["marks"] == metrics["marks"]
        assert operation.parameters["confidence"] == metrics["confidence"]
        scores = version.layer(f"scores:evaluation:{evaluated['model_id']}")
        assert sum(scores["score"].to_pylist()) == metrics["marks"]["fp"] + metrics["marks"]["fn"]


def test_the_second_model_is_compared_with_the_first_on_the_same_images(played: Played) -> None:
    first, second = (result["evaluate"] for result in played.results)

    assert first["metrics"]["gain"] is None
    gain = second["metrics"]["gain"]
    assert gain["before"] == first["model_id"]
    assert gain["images"] == 4
    assert gain["a"] == pytest.approx(first["metrics"]["map50"])
    assert gain["b"] == pytest.approx(second["metrics"]["map50"])
    assert gain["low"] <= gain["high"]


def test_every_job_ran_once(played: Played) -> None:
    assert [run.jobs for run in played.runs] == [["train", "evaluate", "mine"]] * 2
    assert [model.round_number for model in played.house.ws.catalog.models.list("digits")] == [1, 2]


def test_every_task_again_ends_in_the_same_commits(played: Played) -> None:
    store = played.house.ws.store
    before = {branch.name: (branch.seq, branch.tip().id) for branch in store.branches()}

    again = tuple(Run(played.house, run.run_id) for run in played.runs)
    results = tuple(run.all() for run in again)

    for now, then in zip(results, played.results, strict=True):
        assert {task: (now[task], then[task]) for task in TASKS if now[task] != then[task]} == {}
    assert [run.jobs for run in again] == [[], []]
    assert {branch.name: (branch.seq, branch.tip().id) for branch in store.branches()} == before


def test_predictions_are_committed_beside_the_ground_truth(played: Played) -> None:
    evaluated = played.results[1]["evaluate"]
    version = played.version(evaluated["commit"])

    covered = version.layer_assets(f"predictions:{evaluated['model_id']}")
    assert version.stats.assets == 4
    assert covered.to_pylist() == version.asset_ids().to_pylist()
    models = played.house.ws.catalog.models.list("digits")
    assert [model.metrics for model in models] == [
        result["evaluate"]["metrics"] for result in played.results
    ]


def test_every_pick_says_why(played: Played) -> None:
    mine = played.results[0]["mine"]
    scores = played.version(mine["mining"]).layer(mine["scores"])

    assert scores.num_rows == mine["candidates"] == 12
    assert scores["rank"].null_count == 8
    assert all(scores.filter(pc.is_valid(scores["rank"]))["reason"].to_pylist())


def test_commits_say_where_they_come_from(played: Played) -> None:
    commit = played.house.ws.store.resolve("digits/training@r2")
    assert (commit.project, commit.round, commit.run) == ("digits", "2", "run-2")


def test_record_holds_the_whole_round(played: Played) -> None:
    ws = played.house.ws
    rounds = ws.catalog.rounds.list("digits")
    record = read_record(ws, rounds[0].record)

    assert [each.state for each in rounds] == ["closed", "closed"]
    assert record["commits"]["training"] == ws.store.tags()["digits/training@r1"]
    assert all(
        ws.store.resolve(commit).id == commit
        for commit in record["commits"].values()
        if commit is not None
    )
    assert [chosen["rank"] for chosen in record["chosen"]] == [0, 1, 2, 3]
    assert [chosen["answer"] for chosen in record["chosen"]] == ["done"] * 4
    assert record["image"]["name"] == "sample"
    assert record["seed"] == 5
    assert set(record["steps"]) == {*TASKS} - {"close_round"}
    assert {gate["stage"] for gate in record["gates"]} == {"data", "labels"}


def test_steps_show_what_happened(played: Played) -> None:
    steps = played.house.ws.catalog.steps.list(played.results[0]["open_round"]["round_id"])

    assert [step.step for step in steps] == [*TASKS]
    assert {(step.state, step.percent) for step in steps} == {("done", 100.0)}
    assert all(len(json.dumps(dict(step.result or {}))) < 8_000 for step in steps)


def test_jobs_leave_nothing_behind(played: Played) -> None:
    assert list(played.house.ws.jobs_dir.iterdir()) == []
