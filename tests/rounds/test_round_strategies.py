"""What a round's mining gives its strategy: vectors, labelled images, ranking, limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from round_data import House, Run
from test_sharded_mining import BEFORE, _planned, _run_shard

from mir_ops.catalog import apply_project
from mir_ops.errors import InvalidInputError
from mir_ops.rounds import steps

SAMPLE = {"name": "sample", "config": {"infer": {"vector_size": 6}}}


def mined(root: Path, mining: dict[str, Any], executor: dict[str, Any]) -> tuple[Run, pa.Table]:
    run = Run(House(root, {"mining": mining, "executor": executor}), "run")
    run.all(BEFORE)
    for number in _planned(run):
        _run_shard(run, number)
    result = run.task("mine")
    return run, run.ws.store.read(result["mining"]).layer(result["scores"])


def picked(scores: pa.Table) -> pa.Table:
    return scores.filter(pc.is_valid(scores["rank"])).sort_by("rank")


def test_hybrid_compares_with_the_labelled_images(tmp_path: Path) -> None:
    run, scores = mined(tmp_path, {"strategy": "hybrid", "budget": 4}, SAMPLE)

    training = run.ws.store.read(
        run.ws.catalog.steps.result(run.round_id, "merge_training")["commit"]
    )
    labelled = training.assets().filter(pc.equal(training.assets()["split"], "train"))
    nearest = picked(scores)["nearest"].to_pylist()
    assert set(nearest) <= set(labelled["asset_id"].to_pylist())
    components = [dict(each) for each in picked(scores)["components"].to_pylist()]
    assert all(each["nearest_labelled"] >= each["distance"] - 1e-6 for each in components)
    assert components[0]["nearest_labelled"] == pytest.approx(components[0]["distance"], abs=1e-5)
    result = run.ws.catalog.steps.result(run.round_id, "mine")
    assert result["notes"] == []
    version = run.ws.store.read(result["mining"])
    assert len(scores) == len(version.layer(f"embeddings:{result['model_id']}")) == 12


def test_shards_bring_vectors_together(tmp_path: Path) -> None:
    mining = {"strategy": "hybrid", "budget": 4}

    _, whole = mined(tmp_path / "whole", mining, SAMPLE)
    _, cut = mined(tmp_path / "cut", {**mining, "shard_size": 5}, SAMPLE)

    assert cut.equals(whole)


def test_what_a_strategy_did_without_is_on_record(tmp_path: Path) -> None:
    run, _ = mined(tmp_path, {"strategy": "hybrid", "budget": 4}, {"name": "sample"})

    result = run.ws.catalog.steps.result(run.round_id, "mine")
    said = ["no embeddings: nothing is known of which images are alike; "
            "picked by uncertainty and class alone"]  # fmt: skip
    assert result["notes"] == said
    assert run.ws.store.resolve(result["mining"]).operation.parameters["notes"] == said
    assert run.task("mine") == result


def test_the_image_may_rank_for_itself(tmp_path: Path) -> None:
    run, scores = mined(tmp_path, {"strategy": "executor", "budget": 4}, {"name": "sample"})

    ordered = sorted(scores["score"].to_pylist(), reverse=True)
    assert picked(scores)["score"].to_pylist() == ordered[:4]
    assert "the executor scored it" in picked(scores)["reason"][0].as_py()
    assert run.jobs.count("mine") == 1


def test_a_budget_in_boxes_is_calibrated_on_the_validation_images(tmp_path: Path) -> None:
    mining = {"strategy": "random", "budget": 5, "unit": "boxes"}

    run, scores = mined(tmp_path, mining, {"name": "sample"})

    pool = steps.mining_step(run.ws, run.place("mine"), run.round_id).pool
    ratio = pool.boxes_per_confidence()
    version = run.ws.store.read(run.ws.catalog.steps.result(run.round_id, "mine")["mining"])
    found = version.layer(f"predictions:{pool.model.model_id}")
    chosen = picked(scores)["asset_id"]
    on_them = found.filter(pc.is_in(found["asset_id"], value_set=chosen.combine_chunks()))
    assert ratio != 1.0
    assert 0 < ratio * pc.sum(on_them["confidence"]).as_py() <= 5
    assert 1 < len(chosen) < 5


def test_quotas_and_caps_are_the_projects(tmp_path: Path) -> None:
    mining = {"strategy": "random", "budget": 4, "quotas": {"three": 3}, "per_source": 1}

    run, scores = mined(tmp_path, mining, {"name": "sample"})

    version = run.ws.store.read(run.ws.catalog.steps.result(run.round_id, "mine")["mining"])
    model = run.ws.catalog.steps.result(run.round_id, "mine")["model_id"]
    found = version.layer(f"predictions:{model}")
    three = version.taxonomy.id_of("three")
    sure = found.filter(
        pc.and_(pc.equal(found["class_id"], three), pc.greater_equal(found["confidence"], 0.25))
    )
    assert len(set(sure["asset_id"].to_pylist()) & set(picked(scores)["asset_id"].to_pylist())) >= 3


@pytest.mark.parametrize(
    ("mining", "message"),
    [
        ({"quotas": {"four": 1}}, "A quota is for `four`, which is no class of the project"),
        ({"quotas": {"one": 9}, "budget": 4}, "Quotas of 9 images in a budget of 4"),
        (
            {"strategy": "hybrid", "parameters": {"shortlist": 0.5}},
            "Parameters of mining strategy `hybrid`: `shortlist`: Input should be greater than or "
            "equal to 1",
        ),
        (
            {"strategy": "entropy", "parameters": {"shortlist": 5.0}},
            "Mining strategy `entropy` has no parameter `shortlist`",
        ),
    ],
)
def test_mining_that_cannot_be_is_refused_early(
    tmp_path: Path, mining: dict[str, Any], message: str
) -> None:
    house = House(tmp_path)

    with pytest.raises(InvalidInputError) as caught:
        apply_project(house.ws.catalog, {**house.project(), "mining": mining})
    assert str(caught.value) == message


def test_parameters_are_for_the_strategy_of_the_project(tmp_path: Path) -> None:
    mining = {"strategy": "hybrid", "budget": 4, "parameters": {"shortlist": 2.0}}
    house = House(tmp_path, {"mining": mining})

    run = Run(house, "run", {"strategy": "entropy"})
    run.task("open_round")

    spec = house.ws.catalog.rounds.get(run.round_id).spec.mining
    assert (spec.strategy, spec.parameters) == ("entropy", {})
