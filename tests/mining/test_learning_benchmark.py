"""The learning benchmark at a size that says nothing: what it writes, and that it goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
WORDS = [sys.executable, str(BENCHMARKS / "learning.py"), "--tiny", "--json", "--seeds", "1"]
SVG = "{http://www.w3.org/2000/svg}"
BARS = 4 * 2 + 4 + 1 + 3 * 2  # must (and no seed below 0), target, share of all, losses


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)


@pytest.mark.timeout(900)
def test_a_killed_run_goes_on_and_a_cell_made_again_is_equal(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    words = [*WORDS, "--pools", "long-tail", "--folder", str(tmp_path)]
    words += ["--strategies", "hybrid", "hybrid:power=1"]
    cells = tmp_path / "cells.jsonl"
    killed = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(_lines(cells)) < 3:
        assert killed.poll() is None, "it ended before it was killed"
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    before = _lines(cells)
    again = before[0]
    cells.write_text("".join(json.dumps(line) + "\n" for line in before[1:]) + '{"key": "ha')

    done = subprocess.run([*words, "--workers", "1"], capture_output=True, text=True, check=False)

    assert done.returncode == 1, done.stderr  # bars that nothing was measured for are missed
    after = _lines(cells)
    assert after[: len(before) - 1] == before[1:]
    assert len({line["key"] for line in after}) == len(after) == 11
    repeated = next(line for line in after if line["key"] == again["key"])
    assert _result(repeated) == _result(again)
    _check(after)
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert sum(line["name"].startswith(("must: ", "target: ")) for line in said) == BARS
    assert all(isinstance(line["ok"], bool) for line in said[:BARS])
    assert {line["ok"] for line in said if "crowded-hard" in line["name"]} == {False}
    for name in ("short", "converged"):
        page = tmp_path / "plots" / f"long-tail-{name}-balanced" / "report.html"
        assert "<polyline" in page.read_text(encoding="utf-8")
    curves = ElementTree.parse(tmp_path / "plots" / "balanced.svg").iter(SVG + "polyline")
    assert len(list(curves)) == 2 * 2 * 3  # lengths, by images and by boxes, strategies


def test_a_key_is_of_what_decides_the_result() -> None:
    from learning_cells import Cell

    codes = {"mining": "m", "training": "t"}
    first = _cell(Cell, strategy="first", number=0, budget=10)
    drawn = _cell(Cell, strategy="random", number=1, budget=5, before=first)
    mined = replace(drawn, strategy="hybrid")
    others = [
        replace(mined, strategy="hybrid:power=1"),
        replace(mined, before=replace(first, budget=11)),
        replace(mined, seed=2),
        replace(mined, iterations=3),
    ]

    keys = [cell.key(codes) for cell in (first, drawn, mined, *others)]

    assert len(set(keys)) == len(keys)
    assert replace(mined, length="of another name").key(codes) == mined.key(codes)
    assert mined.key({**codes, "mining": "changed"}) != mined.key(codes)
    assert drawn.key({**codes, "mining": "changed"}) == drawn.key(codes)
    assert drawn.key({**codes, "training": "changed"}) != drawn.key(codes)


def test_gains_are_paired_and_nothing_is_read_off_beyond_the_last_model_of_random() -> None:
    from learning_cells import Cell
    from learning_curves import Group

    first = _cell(Cell, strategy="first", number=0, budget=10)
    lines = {first: _line(0, 10, 20, 0.4)}
    before = first
    for number, boxes, reached in ((1, 30, 0.5), (2, 40, 0.55), (3, 50, 0.58)):
        before = _cell(Cell, strategy="random", number=number, budget=10, before=before)
        lines[before] = _line(number, 10 + 10 * number, boxes, reached)
    before = first
    for number, boxes, reached in ((1, 35, 0.6), (2, 51, 0.7)):
        before = _cell(Cell, strategy="hybrid", number=number, budget=10, before=before)
        lines[before] = _line(number, 10 + 10 * number, boxes, reached)
    group = Group(pool="long-tail", length="short", cells=list(lines), lines=lines)

    images = group.gains("hybrid", "balanced", "images")
    boxes = group.gains("hybrid", "balanced", "boxes")

    assert images[1] == pytest.approx([10.0, 15.0])
    assert boxes[1] == pytest.approx([7.5])
    gain = group.gain("hybrid", "balanced", "images")
    assert gain is not None
    assert gain.mean == pytest.approx(12.5)
    assert gain.low is None
    lines.pop(before)
    assert group.gain("hybrid", "balanced", "images") is None  # not before all are there


@pytest.mark.parametrize("pool", ["long-tail", "crowded-hard", "balanced", "near-duplicates"])
def test_every_pool_is_the_same_for_a_seed_and_its_boxes_lie_inside(pool: str) -> None:
    pytest.importorskip("sklearn")
    from learning_pools import SETTINGS, SIDE, compose

    made = list(compose(SETTINGS[pool], "pool", 40, seed=3))
    again = list(compose(SETTINGS[pool], "pool", 40, seed=3))
    tested = list(compose(SETTINGS[pool], "balanced", 40, seed=3))

    assert [scene.content for scene in made] == [scene.content for scene in again]
    assert len({scene.content for scene in (*made, *tested)}) == 80
    boxes = np.array([box[1:] for scene in made for box in scene.boxes])
    assert boxes.min() >= 0
    assert (boxes[:, :2] + boxes[:, 2:]).max() <= SIDE


def test_frames_of_one_scene_are_nearly_alike() -> None:
    pytest.importorskip("sklearn")
    from learning_pools import SETTINGS, compose

    frames = list(compose(SETTINGS["near-duplicates"], "pool", 200, seed=4))

    def held(number: int) -> list[str]:
        return [box.class_name for box in frames[number].boxes]

    alike = sum(held(number) == held(number + 1) for number in range(199))
    assert 150 < alike < 199


def _check(lines: list[dict[str, Any]]) -> None:
    """Each says what was trained on, more than what the one before was, and what it reached."""
    by_key = {line["key"]: line for line in lines}
    for line in lines:
        before = by_key[line["before"]]["labelled"] if line["before"] else []
        assert len(line["labelled"]) == line["images"] == len(before) + line["budget"]
        assert set(before) < set(line["labelled"]) <= set(range(line["pool_images"]))
        assert sum(line["kinds"].values()) == line["images"]
        assert sum(line["classes"].values()) == line["boxes"]
        assert set(line["tests"]) == {"balanced", "iid"}
        for test in line["tests"].values():
            assert 0 <= test["map50_95"] <= test["map50"] <= 1
        assert set(line["cpu_seconds"]) == {"pick", "train", "measure"}


def _cell(kind: Any, **more: Any) -> Any:
    given = {"pool": "long-tail", "seed": 1, "length": "short", "iterations": 2, "before": None}
    return kind(**{**given, "pool_images": 30, "test_images": 10, **more})


def _line(number: int, images: int, boxes: int, reached: float) -> dict[str, Any]:
    tests = {name: {"map50": reached} for name in ("balanced", "iid")}
    return {"number": number, "images": images, "boxes": boxes, "tests": tests}


def _lines(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def _result(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name != "cpu_seconds"}
