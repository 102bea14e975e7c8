"""A slice of a round's budget is drawn at random; the record says what that tells."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from round_data import BEFORE_LABELS, TASKS, House, Run

from mir_ops.cli.main import main
from mir_ops.console.report import write_report
from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.labeling import LabelBackend, LabelRequest, LabelResult
from mir_ops.mining import read_arms
from mir_ops.mining.simulation import Cell
from mir_ops.rounds.control import control_lines
from mir_ops.rounds.record import read_record
from mir_ops.rounds.worth import accumulated, arms_worth
from mir_ops.store.schema import GROUND_TRUTH

BUDGET, POOL = 16, 40


def truth_of(predictions: pa.Table) -> pa.Table:
    """Labels that agree with the model on images with an even id, and on no other."""
    even = pa.array([one[-1] % 2 == 0 for one in predictions["asset_id"].to_pylist()])
    moved = predictions
    for side in ("w", "h"):
        place = predictions.schema.get_field_index(side)
        shrunk = pc.if_else(even, predictions[side], pa.scalar(2.0, pa.float32()))
        moved = moved.set_column(place, predictions.schema.field(side), shrunk)
    return moved.select(GROUND_TRUTH.names).cast(GROUND_TRUTH)


@dataclass
class Listening:
    """A label tool that keeps what it was asked; its people half agree with the model."""

    tool: LabelBackend
    asked: list[LabelRequest] = field(default_factory=list)

    def fetch(self, *task: Any) -> LabelResult:
        return replace(self.tool.fetch(*task), annotations=truth_of(self.asked[-1].predictions))

    def create(self, request: LabelRequest) -> str:
        self.asked.append(request)
        return self.tool.create(request)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tool, name)


@dataclass
class Played:
    house: House
    result: dict[str, dict[str, Any]]
    asked: LabelRequest

    @property
    def record(self) -> dict[str, Any]:
        (round_,) = self.house.ws.catalog.rounds.list("digits")
        return read_record(self.house.ws, round_.record)

    @property
    def scores(self) -> pa.Table:
        mined = self.result["mine"]
        return self.house.ws.store.read(mined["mining"]).layer(mined["scores"])


def play(root: Path) -> Played:
    settings = {"mining": {"strategy": "entropy", "budget": BUDGET, "control": 0.5}}
    house = House(root, settings, POOL)
    run = Run(house, "run-1")
    run.backend = tool = Listening(run.backend)  # type: ignore[assignment]
    seen = TASKS.index("evaluate") + 1
    result = run.all(TASKS[:seen])
    # This executor guesses: on its own validation images no confidence is worth anything.
    metrics = {**result["evaluate"]["metrics"], "confidence": 0.3}
    run.ws.catalog.steps.finish(
        run.round_id,
        "evaluate",
        result["evaluate"]["op_id"],
        {**result["evaluate"], "metrics": metrics},
    )
    result |= run.all(TASKS[seen:])
    return Played(house, result, tool.asked[0])


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    return play(tmp_path_factory.mktemp("house"))


def test_half_of_the_budget_is_drawn_and_each_pick_costs_one_label(played: Played) -> None:
    arms = read_arms(played.scores)

    assert len(arms.random) == BUDGET // 2
    assert len(arms.mined) + len(arms.alone) == BUDGET == played.result["mine"]["picked"]


def test_the_version_and_the_record_keep_the_arms_apart(played: Played) -> None:
    arms = read_arms(played.scores)
    kept = read_arms(played.house.ws.store.read(played.result["mine"]["commit"]).layer("scores:r1"))
    by_arm = {"mined": set[str](), "random": set[str](), "both": set[str]()}
    for chosen in played.record["chosen"]:
        by_arm[chosen["arm"]].add(chosen["asset"])

    assert (kept.mined, kept.random) == (arms.mined, arms.random)
    assert by_arm["random"] == {one.hex() for one in arms.alone.to_pylist()}
    assert by_arm["mined"] | by_arm["both"] == {one.hex() for one in arms.mined.to_pylist()}
    assert len(by_arm["random"] | by_arm["both"]) == BUDGET // 2


def test_who_labels_cannot_tell_the_arms_apart(played: Played) -> None:
    asked = played.asked

    assert asked.assets["asset_id"].to_pylist() == sorted(asked.assets["asset_id"].to_pylist())
    layers = [asked.assets, asked.predictions]
    said = " ".join(str(column) for table in layers for column in table.column_names)
    assert not re.search("score|rank|reason|arm", said)
    assert "arm" not in asked.title
    values = pc.unique(asked.predictions["tags"].combine_chunks().values.field("key"))  # of maps
    assert values.to_pylist() == []


def test_the_record_says_how_the_model_does_on_the_whole_pool(played: Played) -> None:
    control = played.record["control"]

    mining = played.house.ws.store.read(played.result["mine"]["mining"])
    found = mining.layer(f"predictions:{played.result['train']['model_id']}")
    assert control["candidates"] == POOL == mining.stats.assets
    arms = read_arms(played.scores)
    chance = (POOL - len(arms.mined)) / len(arms.alone)
    weight = dict.fromkeys(arms.mined.to_pylist(), 1.0) | dict.fromkeys(
        arms.alone.to_pylist(), chance
    )
    right = sure = 0.0
    for row in found.select(["asset_id", "confidence"]).to_pylist():
        mine = weight.get(row["asset_id"], 0.0)
        said = row["confidence"] >= control["confidence"]
        sure += mine * said
        right += mine * said * (row["asset_id"][-1] % 2 == 0)
    labels = played.house.ws.store.read(played.result["import_labels"]["commit"])
    boxes = sum(weight[one] for one in labels.layer("ground_truth")["asset_id"].to_pylist())
    assert set(control["pool"]) == {"precision", "recall"}
    assert control["pool"]["precision"]["value"] == pytest.approx(right / sure)
    assert control["pool"]["recall"]["value"] == pytest.approx(right / boxes)
    for figure in control["pool"].values():
        assert 0 < figure["low"] < figure["value"] < figure["high"] < 1
    assert "map50" not in control["pool"]
    assert "map50 on the pool needs 50 labelled random images" in control["notes"]


def test_the_record_compares_what_the_arms_brought(played: Played) -> None:
    yields = played.record["control"]["yields"]

    assert {"misses per image", "misses per box", "false positives per image",
            "false positives per box", "boxes per image"} <= set(yields)  # fmt: skip
    for each in yields.values():
        assert each["difference"] == pytest.approx(each["mined"] - each["random"])
        tells_not = each["low"] <= 0 <= each["high"]
        assert (each["verdict"] == "cannot tell yet") == tells_not


def test_people_read_it_in_sentences(played: Played) -> None:
    lines = control_lines(played.result["close_round"]["control"])

    assert lines[0].startswith("Control arm: 8 images drawn at random of 40 candidates (")
    assert any(line.startswith("The model on the whole pool, at confidence ") for line in lines)
    assert any(line.startswith("Misses per image: mined ") for line in lines)
    assert control_lines(None) == []


def test_the_report_and_the_command_say_it_too(
    played: Played,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ws, path = played.house.ws, tmp_path / "report.html"
    write_report(ws.store, ws.catalog, "digits", path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIR_STORE", ws.store_url)
    monkeypatch.setenv("MIR_CATALOG", ws.catalog_url)
    assert main(("round", "show", "1")) == 0

    first = control_lines(played.result["close_round"]["control"])[0]
    assert first in capsys.readouterr().out
    page = path.read_text()
    assert "Mined against random" in page
    assert first in page


def test_one_run_may_go_without(tmp_path: Path) -> None:
    run = Run(House(tmp_path, {"mining": {"budget": 10, "control": 0.5}}), "run-1", {"control": 0})
    mined = run.all(BEFORE_LABELS)["mine"]
    scores = run.ws.store.read(mined["mining"]).layer(mined["scores"])

    assert (len(read_arms(scores).mined), len(read_arms(scores).random)) == (10, 0)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Run:
    settings = {"mining": {"budget": 120, "control": 0.5}}
    run = Run(House(tmp_path_factory.mktemp("large"), settings, 150), "run-1")
    run.all()
    return run


def test_a_pool_large_enough_carries_map(large: Run) -> None:
    control = large.task("close_round")["control"]

    assert control["random"]["labelled"] == 60
    found = control["pool"].get("map50")
    if found is None:  # many of the random images may be mined too
        assert any(note.startswith("map50 on the pool needs") for note in control["notes"])
    else:
        assert 0 <= found["low"] <= found["value"] <= found["high"] <= 1


def test_worth_is_measured_once_on_arms_of_one_size(large: Run, tmp_path: Path) -> None:
    cells: list[Cell] = []
    found = arms_worth(large.ws, "digits", tmp_path, seeds=(0, 1, 2), on_trial=cells.append)

    assert (found.rounds, found.images, found.base, found.metric) == ((1,), 60, 6, "map50")
    assert [(cell.seed, cell.strategy, cell.images) for cell in cells] == [
        (seed, arm, 66) for seed in (0, 1, 2) for arm in ("random", "mined")
    ]
    arms = accumulated(large.ws, "digits")
    allowed = {
        "random": {one.hex() for one in arms.random[0].to_pylist()},
        "mined": {one.hex() for one in arms.mined[0].to_pylist()},
    }
    base = {one.hex() for one in arms.base.to_pylist()}
    assert all(set(cell.labelled) - base <= allowed[str(cell.strategy)] for cell in cells)
    drawn = {arm: {cell.labelled for cell in cells if cell.strategy == arm} for arm in allowed}
    assert len(drawn["random"]) == 1
    assert found.difference is not None
    assert found.difference.values == pytest.approx(
        [b.map50 - a.map50 for a, b in zip(cells[::2], cells[1::2], strict=True)]
    )
    assert found.difference.sign == 0  # this executor guesses
    assert found.verdict == "cannot tell yet: the interval spans 0"

    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("seed-*.json")}
    assert arms_worth(large.ws, "digits", tmp_path, seeds=(0, 1, 2)) == found
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("seed-*.json")} == written


def test_too_few_random_images_are_not_trained_on(played: Played, tmp_path: Path) -> None:
    found = arms_worth(played.house.ws, "digits", tmp_path, seeds=(0, 1, 2))

    assert found.verdict == "cannot tell yet: 8 labelled random images so far, 50 are needed"
    assert (found.difference, list(tmp_path.iterdir())) == (None, [])


def test_worth_needs_several_seeds_and_a_control_arm(
    played: Played, house: House, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError, match="Seeds are 0, 0, 1"):
        arms_worth(played.house.ws, "digits", tmp_path, seeds=(0, 0, 1))
    with pytest.raises(NotFoundError, match="No closed round of `digits` has a control arm"):
        arms_worth(house.ws, "digits", tmp_path, seeds=(0, 1, 2))
