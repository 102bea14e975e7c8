"""A pool in shards: the same pick and the same predictions as in one piece, and one commit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import pytest
from round_data import House, Run

from mir_ops.errors import ConflictError, InvalidInputError, NotFoundError
from mir_ops.rounds import steps
from mir_ops.rounds.steps import Place
from mir_ops.store import Version

BEFORE = ("open_round", "import_data", "merge_training", "train", "evaluate", "check_targets")


def test_shards_find_what_one_job_finds(tmp_path: Path) -> None:
    whole, sharded = _before_mining(tmp_path / "whole", None), _before_mining(tmp_path / "cut", 5)

    one = whole.task("mine")
    shards = [_run_shard(sharded, number) for number in _planned(sharded)]
    together = sharded.task("mine")

    assert [shard["images"] for shard in shards] == [5, 5, 2]
    assert sharded.jobs[-1] == "evaluate"  # the last step ran no executor
    own = dict.fromkeys(("op_id", "mining", "commit", "usage"))
    assert {**together, **own} == {**one, **own}
    left, right = (run.ws.store.branch("digits/mining").read() for run in (whole, sharded))
    for layer in ("scores:r1", f"predictions:{one['model_id']}"):
        assert right.layer(layer).equals(left.layer(layer))
    picked = [run.ws.store.branch("digits/mined").read().asset_ids() for run in (whole, sharded)]
    assert picked[0].equals(picked[1])
    moves = {branch.name: branch.seq for branch in sharded.ws.store.branches()}
    assert moves["digits/mining"] == 1


def test_a_shard_that_was_done_is_not_done_again(tmp_path: Path) -> None:
    run = _before_mining(tmp_path, 5)
    first = _run_shard(run, 0)

    step = steps.shard_step(run.ws, _place(run, 0), run.round_id, 0)

    assert step.finished == first


def test_a_shard_reads_its_plan_and_not_the_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _before_mining(tmp_path, 5)

    def whole(version: Version, name: str) -> NoReturn:
        raise AssertionError(f"a shard read all of `{name}` of {version.id}")

    monkeypatch.setattr(Version, "layer_assets", whole)

    assert [_run_shard(run, number)["images"] for number in range(3)] == [5, 5, 2]


def test_mining_waits_for_every_shard(tmp_path: Path) -> None:
    run = _before_mining(tmp_path, 5)
    _run_shard(run, 0)

    with pytest.raises(NotFoundError, match="`mine_shard_1` of this round is not done"):
        run.task("mine")

    assert "digits/mining" not in [branch.name for branch in run.ws.store.branches()]


def test_a_shard_of_other_images_is_refused(tmp_path: Path) -> None:
    run = _before_mining(tmp_path, 5)
    for number in range(3):
        _run_shard(run, number)
    shards = run.ws.catalog.steps
    result = dict(shards.result(run.round_id, "mine_shard_1"))
    shards.start(run.round_id, "mine_shard_1", "other")
    shards.finish(run.round_id, "mine_shard_1", "other", {**result, "candidates": "others"})

    with pytest.raises(ConflictError, match="Shard 1 was predicted for other images"):
        run.task("mine")


def test_small_pools_have_no_shards(tmp_path: Path) -> None:
    run = _before_mining(tmp_path, 12)

    assert not _planned(run)
    with pytest.raises(InvalidInputError, match="has no shard 0"):
        _run_shard(run, 0)


def _before_mining(root: Path, shard_size: int | None) -> Run:
    mining = {"strategy": "entropy", "budget": 4, "shard_size": shard_size}
    run = Run(House(root, {"mining": mining}), "run")
    run.all(BEFORE)
    _planned(run)
    return run


def _planned(run: Run) -> range:
    """The numbers of the shards."""
    plan = steps.plan_shards(run.ws, run.place("plan_shards"), run.round_id)
    return range(len(plan["shards"]))


def _place(run: Run, number: int) -> Place:
    return Place(
        deployment=run.ws.deployment,
        dag_id="dag",
        run_id=run.run_id,
        task_id="mine_shard",
        map_index=number,
    )


def _run_shard(run: Run, number: int) -> dict[str, Any]:
    step = steps.shard_step(run.ws, _place(run, number), run.round_id, number)
    job = step.prepare()
    run.run_executor(job)
    return step.collect(job)
