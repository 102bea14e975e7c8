"""What a round mines in: the pool filtered, without what the rule excludes, and sampled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from round_data import House, Run

from mir_ops.rounds.pool import round_pool

QUICK = ("open_round", "import_data", "merge_training", "train", "evaluate", "check_targets")


def run_of(root: Path, pool: dict[str, Any], conf: dict[str, Any] | None = None) -> Run:
    run = Run(House(root, {"pool": pool}), "run-1", conf or {})
    run.all(QUICK)
    return run


def test_a_pool_that_nobody_filters_is_left_whole(tmp_path: Path) -> None:
    run = run_of(tmp_path, {})

    assert run.task("prepare_pool") == {
        "commit": None,
        "images": 12,
        "left_out": {"excluded": 0},
    }
    assert run.ws.store.branch("digits/pool").find_tip() is None
    assert run.task("mine")["candidates"] == 12


def test_a_sample_of_the_pool_has_its_own_commit_and_is_mined_in(tmp_path: Path) -> None:
    run = run_of(tmp_path, {"sample": 7})
    prepared, mined = run.task("prepare_pool"), run.task("mine")

    assert prepared["left_out"] == {"excluded": 0, "filtered": 0, "not_drawn": 5}
    version = run.ws.store.read(prepared["commit"])
    assert version.stats.assets == prepared["images"] == mined["candidates"] == 7
    assert version.commit.operation.kind == "prepare"
    assert (version.commit.project, version.commit.round) == ("digits", "1")
    assert run.ws.store.read(mined["mining"]).asset_ids() == version.asset_ids()
    assert run.task("prepare_pool") == prepared
    assert run.ws.store.branch("digits/pool").tip().id == prepared["commit"]


def test_images_that_do_not_fit_are_counted(tmp_path: Path) -> None:
    run = run_of(tmp_path, {"least_width": 48, "exclude_attributes": ["night"], "sample": 20})
    prepared = run.task("prepare_pool")

    assert (prepared["images"], prepared["left_out"]["filtered"]) == (12, 0)


def test_where_nothing_fits_the_project_stops(tmp_path: Path) -> None:
    run = run_of(tmp_path, {"least_width": 49})
    prepared = run.task("prepare_pool")

    assert run.task("check_targets")["code"] == "empty-pool"
    assert prepared == {
        "commit": None,
        "images": 0,
        "left_out": {"excluded": 0, "filtered": 12, "not_drawn": 0},
    }
    assert len(round_pool(run.ws, run.round_id).candidates) == 0
    assert run.task("mine")["picked"] == 0


def test_one_run_may_look_at_the_whole_pool(tmp_path: Path) -> None:
    run = run_of(tmp_path, {"sample": 7}, {"prepare_pool": False})

    assert run.task("prepare_pool")["images"] == 12


@pytest.mark.parametrize("pool", [{"sample": 0}, {"attributes": "night"}, {"least_width": 0}])
def test_a_pool_that_cannot_be_is_refused(tmp_path: Path, pool: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="Invalid project: `pool"):
        House(tmp_path, {"pool": pool})
