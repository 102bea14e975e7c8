"""Every branch of a round's DAG, run by Airflow's own `dag.test()`: what ran, and what it left."""

from __future__ import annotations

from typing import Any

import pytest
from round_worlds import RoundWorld, write_images
from trials import Trials, Tried

from mir_ops.catalog import Round, edit_project
from mir_ops.rounds.ledger import STEPS
from mir_ops.rounds.record import read_record
from mir_ops.rounds.steps import Place, open_round

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]

TASKS = {*STEPS, "plan_shards", "mine_shard", "approve_model", "promote_model"}
LAST = {"train_last", "evaluate_last"}
IMPORTS = {"import/pool": 1, "import/training": 1, "import/validation": 1}
AFTER_TARGETS = set(STEPS[STEPS.index("prepare_pool") : -1]) | {"plan_shards", "mine_shard"}


@pytest.fixture(scope="module")
def normal(trials: Trials, tried_world: RoundWorld) -> Tried:
    """A round as it usually is, of a project's own DAG, started by its clock."""
    tried_world.apply("normal", schedule={"cron": "0 3 * * *"})
    return by_itself(trials, "normal", "scheduled")


def by_itself(trials: Trials, project: str, run_type: str, **more: Any) -> Tried:
    """A round that nobody asked for: of a tick, or of an event that data came."""
    event = f"mir://{project}/data" if run_type == "asset_triggered" else None
    return trials.run(
        "project_rounds.py", f"round__{project}", run_type=run_type, event=event, **more
    )


def by_hand(trials: Trials, project: str, **more: Any) -> Tried:
    conf = {"project": project, **more.pop("conf", {})}
    return trials.run("active_learning_round.py", "active_learning_round", conf=conf, **more)


def edit(world: RoundWorld, project: str, **changes: Any) -> None:
    edit_project(world.workspace.catalog, project, changes)


def newest(world: RoundWorld, project: str) -> Round:
    return world.workspace.catalog.rounds.list(project)[-1]


def result(world: RoundWorld, project: str, step: str) -> dict[str, Any]:
    return dict(world.workspace.catalog.steps.result(newest(world, project).id, step))


def moves(world: RoundWorld, project: str) -> dict[str, int]:
    """How often each branch of a project moved."""
    branches = world.workspace.store.branches()
    names = {branch.name: branch.seq for branch in branches}
    start = f"{project}/"
    return {name.removeprefix(start): n for name, n in names.items() if name.startswith(start)}


def splits(world: RoundWorld, project: str) -> dict[str, int]:
    return dict(world.workspace.store.branch(f"{project}/training").tip().stats.splits)


def check(run: Tried, *, skipped: set[str]) -> None:
    """All other tasks succeeded, and so did the run."""
    assert (run.among("skipped"), run.among("success")) == (skipped, TASKS - skipped)
    assert run.state == "success"


def test_a_tick_runs_a_round_from_import_to_merged_labels(
    normal: Tried, tried_world: RoundWorld
) -> None:
    check(normal, skipped={"mine_shard", *LAST, "promote_model"})
    assert moves(tried_world, "normal") == {
        **IMPORTS, "training": 3, "evaluation": 1, "mining": 1, "mined": 1, "labels": 1,
    }  # fmt: skip
    assert splits(tried_world, "normal") == {"train": 11, "val": 4}
    assert newest(tried_world, "normal").state == "closed"
    control = read_record(tried_world.workspace, newest(tried_world, "normal").record)["control"]
    assert control["random"]["drawn"] == 1


def test_an_event_runs_one_with_a_prepared_pool_an_approval_and_a_last_training(
    trials: Trials, tried_world: RoundWorld
) -> None:
    tried_world.apply(
        "full",
        schedule={"new_data": True},
        pool={"sample": 8},
        mining={"strategy": "entropy", "budget": 3, "control": 0},
        train_after_merge=True,
        promote="best-of-full",
        approve_model=True,
    )

    run = by_itself(trials, "full", "asset_triggered", answer="Approve")

    check(run, skipped={"mine_shard"})
    assert moves(tried_world, "full") == {
        **IMPORTS, "training": 3, "evaluation": 2, "pool": 1, "mining": 1, "mined": 1, "labels": 1,
    }  # fmt: skip
    assert result(tried_world, "full", "mine")["candidates"] == 8
    assert result(tried_world, "full", "approve_model")["by"] == "ada"
    last = result(tried_world, "full", "train_last")["model_id"]
    catalog = tried_world.workspace.catalog
    assert catalog.packages.promotion("best-of-full").model_id == last
    assert read_record(tried_world.workspace, newest(tried_world, "full").record)["control"] is None


def test_a_round_with_a_given_model_that_skips_what_may_be_skipped_and_is_refused(
    trials: Trials, tried_world: RoundWorld, normal: Tried
) -> None:
    assert normal.state == "success"
    model = result(tried_world, "normal", "train")["model_id"]
    tried_world.apply(
        "given",
        schedule={"new_data": True},
        pool={"sample": 8},
        promote="best-of-given",
        approve_model=True,
    )
    skips = {"prepare_pool": False, "mine": False, "label": False, "model": model}

    run = by_itself(trials, "given", "asset_triggered", answer="Reject", conf=skips)

    check(run, skipped={"mine_shard", *LAST, "promote_model"})
    assert moves(tried_world, "given") == {
        **IMPORTS, "training": 2, "evaluation": 1, "mining": 1, "mined": 1,
    }  # fmt: skip
    taken = result(tried_world, "given", "train")
    assert (taken["from"], taken["model_id"]) == ("given", model)
    assert result(tried_world, "given", "mine")["picked"] == 15
    assert result(tried_world, "given", "create_label_task")["requested"] == 0
    assert result(tried_world, "given", "approve_model")["approved"] is False
    promotions = tried_world.workspace.catalog.packages.promotions()
    assert "best-of-given" not in [each.name for each in promotions]


def test_round_0_draws_images_where_there_is_nothing_to_train_from(
    trials: Trials, tried_world: RoundWorld
) -> None:
    tried_world.apply("bare", sources={"pool": str(tried_world.root / "data" / "pool")})

    run = by_hand(trials, "bare", conf={"budget": 6})

    check(run, skipped={"train", "evaluate", "check_targets", "mine_shard", "promote_model"})
    assert moves(tried_world, "bare") == {
        "import/pool": 1, "training": 2, "mining": 1, "mined": 1, "labels": 1, "evaluation": 1,
    }  # fmt: skip
    assert newest(tried_world, "bare").number == 0
    assert splits(tried_world, "bare") == {"train": 4, "val": 2}
    record = read_record(tried_world.workspace, newest(tried_world, "bare").record)
    assert record["last"]["metrics"]["images"] == 2
    (task,) = tried_world.workspace.catalog.label_tasks.list(newest(tried_world, "bare").id)
    assert task.state == "closed"


def test_a_draw_that_nobody_labels_in_time_leaves_no_labels_and_closes(
    trials: Trials, tried_world: RoundWorld
) -> None:
    sources = {role: str(tried_world.root / "data" / role) for role in ("validation", "pool")}
    tried_world.apply("late", sources=sources, backend="folder")
    spec = {"backend": "folder", "timeout_days": 1e-6, "poll_seconds": 0.05}
    edit(tried_world, "late", labels=spec)

    people = {**trials.connections, "mir_labels": trials.connections["people"]}
    run = by_hand(trials, "late", connections=people)

    untrained = {"train", "evaluate", "check_targets"}
    check(run, skipped={*untrained, "mine_shard", *LAST, "promote_model"})
    assert moves(tried_world, "late") == {
        "import/pool": 1, "import/validation": 1, "training": 2, "mining": 1, "mined": 1,
    }  # fmt: skip
    assert result(tried_world, "late", "import_labels")["done"] == 0
    assert result(tried_world, "late", "check_end")["last"] is False


def test_a_pool_with_nothing_to_pick_ends_the_round_after_its_model_is_measured(
    trials: Trials, tried_world: RoundWorld
) -> None:
    known = tried_world.root / "data" / "training"
    sources = {"training": known, "validation": known.with_name("validation"), "pool": known}
    tried_world.apply("dry", sources={role: str(path) for role, path in sources.items()})

    run = by_hand(trials, "dry")

    check(run, skipped={*AFTER_TARGETS, "promote_model"})
    assert moves(tried_world, "dry") == {**IMPORTS, "training": 2, "evaluation": 1}
    assert result(tried_world, "dry", "check_targets")["code"] == "empty-pool"


def test_new_labels_start_a_round_once_they_are_enough_and_a_target_ends_it(
    trials: Trials, tried_world: RoundWorld, normal: Tried
) -> None:
    assert normal.state == "success"
    before = moves(tried_world, "normal")
    stop = {"labelled_images": 8}
    edit(tried_world, "normal", schedule={"new_labels": 6}, stop=stop, promote="best-of-normal")

    few = by_itself(trials, "normal", "asset_triggered")

    assert (few.state, few.among("skipped")) == ("success", TASKS)
    assert "5 of 6 images are newly labelled: not yet" in trials.log.read_text()
    assert moves(tried_world, "normal") == before

    edit(tried_world, "normal", schedule={"new_labels": 5})
    enough = by_itself(trials, "normal", "asset_triggered")

    check(enough, skipped=AFTER_TARGETS)
    assert moves(tried_world, "normal") == {**before, "evaluation": 2}
    assert result(tried_world, "normal", "check_targets")["code"] == "labelled-images"
    model = result(tried_world, "normal", "train")["model_id"]
    catalog = tried_world.workspace.catalog
    assert catalog.packages.promotion("best-of-normal").model_id == model


def test_a_gate_that_does_not_pass_ends_the_round(trials: Trials, tried_world: RoundWorld) -> None:
    leaking = tried_world.root / "leaking"
    write_images(leaking, 3, seed=0)  # of the training images
    known = tried_world.root / "data" / "training"
    sources = {"training": known, "validation": leaking, "pool": known.with_name("pool")}
    tried_world.apply("leaks", sources={role: str(path) for role, path in sources.items()})

    run = by_hand(trials, "leaks")

    assert run.state == "failed"
    assert (run.among("failed"), run.among("success")) == (
        {"gate_data"},
        {"open_round", "import_data"},
    )
    assert run.among("upstream_failed") == TASKS - {"gate_data", "open_round", "import_data"}
    assert moves(tried_world, "leaks") == {**IMPORTS, "training": 1}
    failed = newest(tried_world, "leaks")
    assert failed.state == "failed"
    assert (failed.reason or "").startswith("Task `gate_data` failed: ")


@pytest.mark.parametrize(
    ("run_type", "opening", "state"),
    [("scheduled", "skipped", "success"), ("manual", "failed", "failed")],
)
def test_a_run_that_finds_a_round_open_links_it_and_does_nothing(
    trials: Trials, tried_world: RoundWorld, run_type: str, opening: str, state: str
) -> None:
    tried_world.apply("held", schedule={"cron": "0 3 * * *"})
    ws = tried_world.workspace
    place = Place(deployment="elsewhere", dag_id="round", run_id="run-1", task_id="open_round")
    open_round(ws, place, project="held", conf={})
    before = moves(tried_world, "held")

    run = by_itself(trials, "held", run_type)

    others = "skipped" if opening == "skipped" else "upstream_failed"
    assert run.state == state
    assert run.tasks == dict.fromkeys(TASKS, others) | {"open_round": opening}
    assert run.opening["mir_open_run"] == {"dag_id": "round", "run_id": "run-1"}
    assert moves(tried_world, "held") == before == {"training": 1}
    assert [each.run_id for each in ws.catalog.rounds.list("held")] == ["run-1"]
