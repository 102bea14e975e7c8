"""Frozen test sets in a round: measured on, gone by, never trained on, never put up for labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from round_data import TASKS, House, Run, write_voc_zip

from mir_ops.console.rounds.views import find_project
from mir_ops.dataset import import_dataset
from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.evaluation import evaluate_material, freeze, read_material
from mir_ops.executor.models import choose_model
from mir_ops.rounds.targets import judged
from mir_ops.store import Store, Version, operation_id

BEFORE_MODEL = ("open_round", "import_data", "merge_training")
MEASURED = ("open_round", "import_data", "gate_data", "merge_training", "train", "evaluate")


def frozen(store: Store, folder: Path, name: str, *, seed: int, count: int = 3) -> Version:
    """Images of noise; those of one seed begin with the same ones, whatever they are called."""
    path = write_voc_zip(folder / f"{name}.zip", count=count, seed=seed)
    op_id = operation_id(name, {})
    import_dataset(store, path, name, op_id=op_id, unknown_classes="add")
    freeze(store, name, store.read(name).commit)
    return store.read(name)


def test_a_round_measures_on_the_test_sets_and_targets_go_by_them(tmp_path: Path) -> None:
    stop = {"target": 0.5, "metric": "map50"}
    house = House(tmp_path, {"test_sets": ["golden", "night"], "stop": stop})
    sets = {
        name: frozen(house.ws.store, tmp_path, name, seed=seed)
        for name, seed in (("golden", 21), ("night", 22))
    }

    run = Run(house, "run-1")
    results = run.all((*MEASURED, "check_targets"))

    metrics = results["evaluate"]["metrics"]
    version = house.ws.store.read(results["evaluate"]["commit"])
    layer = f"predictions:{results['evaluate']['model_id']}"
    for name, truth in sets.items():
        expected = evaluate_material(read_material(truth, version, layer=layer))
        told = metrics["tests"][name]
        assert told["commit"] == truth.id
        assert (told["images"], told["map50"]) == (3, expected.metrics.map50)
    assert metrics["images"] == 4  # the validation images, as ever
    assert version.stats.splits == {"val": 4, "test": 6}

    project = find_project(house.ws.catalog, house.ws.store, "digits")
    assert project is not None
    (told_there,) = [note for note in project.notes if "golden" in note]
    assert told_there.startswith("On test set golden, 3 images: mAP50 ")

    judgement = results["check_targets"]
    worst = min(metrics["tests"][name]["map50"] for name in sets)
    assert (judgement["value"], judgement["on"]) == (worst, ["golden", "night"])
    assert "on the worst of test sets `golden`, `night`" in judgement["reason"]


def test_a_model_that_saw_not_all_test_sets_is_not_judged(house: House) -> None:
    spec = house.ws.catalog.projects.get("digits").spec
    both = spec.model_copy(update={"test_sets": ("a", "b")})
    measured: dict[str, Any] = {"map50": 0.9, "tests": {"a": {"map50": 0.4}, "b": {"map50": 0.3}}}

    assert judged(spec, measured) == 0.9
    assert judged(both, measured) == 0.3
    assert judged(both, {"map50": 0.9, "tests": {"a": {"map50": 0.4}}}) is None
    assert judged(both, {"map50": 0.9}) is None


def test_a_test_set_that_is_not_frozen_opens_no_round(tmp_path: Path) -> None:
    house = House(tmp_path, {"test_sets": ["golden"]})

    with pytest.raises(NotFoundError, match="No test set is frozen under the name `golden`"):
        Run(house, "run-1").task("open_round")
    assert house.ws.catalog.rounds.list() == []


def test_frozen_images_of_the_pool_are_never_put_up_for_labels(tmp_path: Path) -> None:
    mining = {"strategy": "random", "budget": 12, "exclude": "none"}
    house = House(tmp_path, {"mining": mining})
    kept_out = frozen(house.ws.store, tmp_path, "golden", seed=3, count=5)  # seed 3 is the pool's

    run = Run(house, "run-1")
    results = run.all(TASKS)

    assert results["mine"]["candidates"] == 7
    picked = house.ws.store.read(results["mine"]["commit"]).asset_ids()
    assert not pc.any(pc.is_in(picked, value_set=kept_out.asset_ids())).as_py()
    assert results["import_labels"]["done"] == 7
    Run(house, "run-2").all(("open_round", "import_data", "merge_training", "train"))


def test_a_set_frozen_while_a_round_runs_counts_from_the_next_round(house: House) -> None:
    run = Run(house, "run-1")
    metrics = run.all(MEASURED)["evaluate"]["metrics"]
    before = run.task("check_targets")
    assert (before["value"], before["on"]) == (metrics["map50"], "validation")
    frozen(house.ws.store, house.root, "golden", seed=3, count=5)

    assert run.task("check_targets") == before
    assert run.task("mine")["candidates"] == 12


@pytest.mark.parametrize(("source", "seed"), [("training", 1), ("validation", 2)])
def test_a_source_with_a_frozen_image_is_refused_before_the_training_set_has_it(
    house: House, source: str, seed: int
) -> None:
    frozen(house.ws.store, house.root, "golden", seed=seed, count=2)

    run = Run(house, "run-1")
    run.all(("open_round", "import_data"))
    with pytest.raises(InvalidInputError) as caught:
        run.task("merge_training")

    assert caught.value.code == "frozen-test-set"
    assert "2 images" in str(caught.value)
    assert f"Import {source} of digits" in str(caught.value)
    assert house.ws.store.branch("digits/training").tip().stats.assets == 0


def test_what_is_frozen_after_it_was_labelled_is_refused_by_the_next_training(
    house: House,
) -> None:
    first = Run(house, "run-1")
    first.all(TASKS)
    trained = house.ws.store.read("digits/training")
    freeze(house.ws.store, "golden", trained.commit)

    second = Run(house, "run-2")
    second.all(BEFORE_MODEL)
    with pytest.raises(InvalidInputError, match="frozen test set `golden`"):
        second.task("train")
    assert second.jobs == []


def test_no_training_goes_on_from_a_model_that_has_learnt_from_a_frozen_image(
    house: House,
) -> None:
    first = Run(house, "run-1")
    first.all((*BEFORE_MODEL, "train"))
    store = house.ws.store
    model = choose_model(house.ws, house.ws.catalog.packages.list()[0].model_id)
    house.ws.catalog.rounds.fail(first.round_id, reason="enough")
    # The images leave the training set, and are frozen: the model knows them nevertheless.
    freeze(store, "golden", store.read("digits/import/training").commit)
    data = house.root / "data"
    for name, count, seed in (("training", 5, 31), ("validation", 4, 32)):
        (data / f"{name}.zip").unlink()
        write_voc_zip(data / f"{name}.zip", count=count, seed=seed)
    store.branch("digits/training").delete()
    for role in ("training", "validation"):
        store.branch(f"digits/import/{role}").delete()

    second = Run(house, "run-2", {"pretrained": model.name})
    second.all(BEFORE_MODEL)
    with pytest.raises(InvalidInputError) as caught:
        second.task("train")

    assert caught.value.code == "frozen-test-set"
    assert str(caught.value).startswith(f"Model `{model.package.model_id[:12]}` has learnt from")
    assert second.jobs == []


def test_no_model_is_taken_again_that_has_learnt_from_a_frozen_image(house: House) -> None:
    first = Run(house, "run-1")
    first.all((*BEFORE_MODEL, "train"))
    house.ws.catalog.rounds.fail(first.round_id, reason="enough")
    freeze(house.ws.store, "golden", house.ws.store.read("digits/import/training").commit)

    second = Run(house, "run-2")
    second.all(BEFORE_MODEL)
    with pytest.raises(InvalidInputError) as caught:
        second.task("train")

    assert caught.value.code == "frozen-test-set"
    assert second.jobs == []
