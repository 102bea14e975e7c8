"""What a round takes, refuses, and when a project has arrived."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from round_data import BEFORE_LABELS, TASKS, House, Run, write_voc_zip

from mir_ops.catalog import read_project
from mir_ops.errors import ConflictError, InvalidInputError, NotFoundError
from mir_ops.labeling import LabelBackend, LabelProgress, LabelRequest, LabelResult
from mir_ops.quality import GateFailedError
from mir_ops.rounds import steps
from mir_ops.rounds.targets import Labelled, decide

KEYS = "docs/rounds.md says what each key takes"
QUICK = tuple(task for task in BEFORE_LABELS if not task.startswith("gate_"))


@pytest.mark.parametrize(
    ("conf", "code", "hint"),
    [
        ({"buget": 3}, "unknown-parameter", "Did you mean `budget`?"),
        ({"budget": "many"}, "invalid-parameter", KEYS),
        ({"budget": 0}, "invalid-parameter", KEYS),
        ({"new_data": "http://h/x.zip"}, "invalid-parameter", KEYS),
        ({"strategy": "entropie"}, "unknown-strategy", "Did you mean `entropy`?"),
        ({"project": "other"}, "invalid-parameter", None),
    ],
)
def test_bad_conf_opens_no_round(house: House, conf: Any, code: str, hint: str | None) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Run(house, "run-1", conf).task("open_round")
    assert (caught.value.code, caught.value.hint) == (code, hint)
    assert house.ws.catalog.rounds.list() == []


def test_second_run_is_refused_while_a_round_is_open(house: House) -> None:
    Run(house, "run-1").task("open_round")

    with pytest.raises(ConflictError) as caught:
        Run(house, "run-2").task("open_round")
    assert str(caught.value) == "Round 1 of `digits` is open: run `run-1` of `dag`"


def test_conf_is_this_rounds_alone(house: House) -> None:
    run = Run(house, "run-1", {"project": "digits", "budget": 2, "strategy": "random", "seed": 8})
    results = run.all(QUICK)

    assert results["mine"]["picked"] == 2
    assert results["mine"]["strategy"] == "random"
    assert house.ws.catalog.rounds.get(run.round_id).spec.seed == 8
    assert house.ws.catalog.projects.get("digits").spec.mining.budget == 4


@pytest.mark.parametrize("named", ["night/extra.zip", "{sharing}/night/extra.zip"])
def test_new_data_joins_the_training_version(house: House, named: str) -> None:
    sharing = house.root / "sharing"
    write_voc_zip(sharing / "night/extra.zip", count=3, seed=11)

    run = Run(house, "run-1", {"new_data": named.format(sharing=sharing)})
    results = run.all(("open_round", "import_data", "gate_data", "merge_training"))

    assert house.ws.store.read(results["merge_training"]["commit"]).stats.splits["train"] == 9


@pytest.mark.parametrize("named", ["/etc", "../data/pool.zip", "out/pool.zip"])
def test_new_data_lies_in_the_sharing_folder(house: House, named: str) -> None:
    (house.root / "sharing").mkdir()
    (house.root / "sharing/out").symlink_to(house.root / "data")

    run = Run(house, "run-1", {"new_data": named})
    run.task("open_round")
    with pytest.raises(InvalidInputError) as caught:
        run.task("import_data")
    assert caught.value.code == "outside-sharing-folder"


def test_missing_source_says_which(house: House) -> None:
    (house.root / "data" / "pool.zip").unlink()

    run = Run(house, "run-1")
    run.task("open_round")
    with pytest.raises(NotFoundError) as caught:
        run.task("import_data")
    assert str(caught.value) == (
        f"The pool source `{house.root / 'data' / 'pool.zip'}` does not exist"
    )


def test_leaking_image_stops_the_round_and_the_report_is_kept(house: House) -> None:
    write_voc_zip(house.root / "data" / "validation.zip", count=3, seed=1)
    run = Run(house, "run-1")
    run.all(("open_round", "import_data"))

    with pytest.raises(GateFailedError) as caught:
        run.task("gate_data")

    (gate,) = house.ws.catalog.gates.list(run.round_id)
    assert gate.blocked
    assert "no-leakage" in str(caught.value)
    assert house.ws.store.get_blob(gate.html_blob).startswith(b"<!")
    found = house.ws.catalog.steps.find(run.round_id, "gate_data")
    assert found is not None
    assert found.state == "failed"


def test_images_looked_at_once_are_not_looked_at_again(tmp_path: Path) -> None:
    """`chunk`: the first round scored the whole pool, so nothing is left, and the project stops."""
    house = House(tmp_path, {"mining": {"strategy": "random", "budget": 4, "exclude": "chunk"}})
    Run(house, "run-1").all(tuple(task for task in TASKS if not task.startswith("gate_")))

    second = Run(house, "run-2")
    results = second.all((*QUICK, "close_round"))

    assert results["check_targets"]["code"] == "empty-pool"
    assert results["mine"]["picked"] == 0
    assert second.jobs == ["train", "evaluate"]
    assert results["close_round"]["stop"]["stop"] is True


def test_nothing_to_label_is_nothing_to_wait_for(tmp_path: Path) -> None:
    house = House(tmp_path, {"mining": {"strategy": "random", "budget": 4, "exclude": "chunk"}})
    Run(house, "run-1").all(tuple(task for task in TASKS if not task.startswith("gate_")))

    second = Run(house, "run-2")
    results = second.all((*QUICK, *TASKS[TASKS.index("create_label_task") :]))

    assert results["create_label_task"]["task"] is None
    assert results["wait_for_labels"] == {"complete": True}
    assert results["merge_labels"]["commit"] == results["merge_training"]["commit"]


class BoxesOutside:
    """A label tool whose people draw one box far outside of each image."""

    kind = "outside"

    def __init__(self, oracle: LabelBackend) -> None:
        self.oracle = oracle

    def create(self, request: LabelRequest) -> str:
        return self.oracle.create(request)

    def progress(self, task_id: str) -> LabelProgress:
        return self.oracle.progress(task_id)

    def fetch(self, task_id: str, request: LabelRequest) -> LabelResult:
        found = self.oracle.fetch(task_id, request)
        table = found.annotations
        far = pa.array([1000.0] * table.num_rows, pa.float32())
        moved = table.set_column(table.schema.get_field_index("x"), table.schema.field("x"), far)
        return LabelResult(annotations=moved, done=found.done, skipped=found.skipped)

    def close(self, task_id: str) -> None: ...


def test_labels_that_failed_their_gate_are_asked_for_again(house: House) -> None:
    first = Run(house, "run-1")
    first.backend = BoxesOutside(house.oracle())
    before = first.all(QUICK)
    first.all(("create_label_task", "wait_for_labels", "import_labels"))
    with pytest.raises(GateFailedError):
        first.task("gate_labels")
    steps.fail_round(house.ws, "run-1", "gate")

    second = Run(house, "run-2")
    after = second.all((*QUICK, *TASKS[TASKS.index("create_label_task") :]))

    assert after["mine"]["candidates"] == before["mine"]["candidates"]
    assert after["import_labels"]["done"] == 4
    labels = house.ws.store.read("digits/labels")
    assert max(labels.layer("ground_truth")["x"].to_pylist()) < 48
    assert labels.stats.assets == 4


def test_lost_label_task_is_no_finished_one(house: House) -> None:
    run = Run(house, "run-1")
    run.all((*QUICK, "create_label_task"))

    class Emptied(BoxesOutside):
        def progress(self, _task_id: str) -> LabelProgress:
            return LabelProgress(total=0, done=0)

    run.backend = Emptied(house.oracle())
    with pytest.raises(NotFoundError) as caught:
        run.task("wait_for_labels")
    assert caught.value.code == "label-task-lost"


SPEC = {
    "name": "p",
    "classes": ["a"],
    "sources": {"training": "t", "validation": "v", "pool": "p"},
    "executor": {"name": "sample"},
}


@pytest.mark.parametrize(
    ("stop", "history", "code"),
    [
        ({}, [0.99], None),
        ({"target": 0.9}, [0.89], None),
        ({"target": 0.9}, [0.9], "target"),
        ({"rounds": 3}, [0.1], None),
        ({"rounds": 2}, [0.1], "rounds"),
        ({"labelled_images": 50}, [0.1], "labelled-images"),
        ({"labelled_images": 51}, [0.1], None),
        ({"labelled_boxes": 120}, [0.1], "labelled-boxes"),
        ({"labelled_boxes": 121}, [0.1], None),
        ({"plateau": {"rounds": 2, "gain": 0.01}}, [0.5, 0.505, 0.502], "plateau"),
        ({"plateau": {"rounds": 2, "gain": 0.01}}, [0.5, 0.505, 0.52], None),
        ({"plateau": {"rounds": 2, "gain": 0.01}}, [0.5, 0.5], None),
    ],
)
def test_project_stops_by_its_rules(stop: Any, history: list[float], code: str | None) -> None:
    spec = read_project({**SPEC, "stop": stop})
    labelled = Labelled(images=50, boxes=120)
    found, reason = decide(spec, number=3, history=history, labelled=labelled, candidates=10)
    assert found == code
    assert reason
