"""`mir simulate`: rounds replayed on labels that exist, and what they say together."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from browser_tab import CHROMIUM, open_tab
from PIL import Image

from mir_ops.cli.main import main
from mir_ops.cli.repository import Repository, create_repository
from mir_ops.console.simulations import write_simulation
from mir_ops.dataset import subset
from mir_ops.errors import InvalidInputError
from mir_ops.evaluation.frozen import freeze, frozen_images, frozen_sets
from mir_ops.mining.simulation import Cell, Parts
from mir_ops.mining.worth import Cost, estimate, weigh
from mir_ops.store import Operation, Store, schema
from mir_ops.taxonomy import Taxonomy

WORDS = ("--executor", "sample", "--budget", "3", "--rounds", "1", "--seeds", "4", "--json")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty labelled images: on `parts` six are for testing and four for validation."""
    root = tmp_path_factory.mktemp("made")
    store = create_repository(root).store
    commit(store, "parts", ["train"] * 20 + ["val"] * 4 + ["test"] * 6)
    commit(store, "all", [None] * 30)
    return root


@pytest.fixture
def repository(made: Path, tmp_path: Path) -> Repository:
    return copied(made, tmp_path)


@pytest.fixture(scope="module")
def done(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Simulated with one seed: what is asked of it again costs no training."""
    root = tmp_path_factory.mktemp("done")
    copied(made, root)
    assert run(root, "parts", "--out", str(root / "out")) == 0
    return root


def copied(made: Path, to: Path) -> Repository:
    shutil.copytree(made / ".mir" / "store", to / ".mir" / "store")
    return create_repository(to)


def commit(store: Store, branch: str, splits: list[str | None]) -> None:
    """Images of noise, each with a cat and a dog."""
    dice = np.random.default_rng(1)
    images = [picture(dice) for _ in splits]
    ids = pa.array([hashlib.sha256(image).digest() for image in images], schema.ASSET_ID)
    count = len(images)
    for image in images:
        store.put_blob(image)
    known = store.register_classes(["cat", "dog"])
    assets = {
        "asset_id": ids,
        "media_type": ["image/png"] * count,
        "width": [48] * count,
        "height": [48] * count,
        "channels": [3] * count,
        "byte_size": [len(image) for image in images],
        "orientation": [1] * count,
        "source_names": [[f"{number}.png"] for number in range(count)],
        "split": pa.array(splits, pa.string()),
        "added_at": pa.array([0] * count, schema.TIME),
        "ymir_sha1": [hashlib.sha1(image).digest() for image in images],
    }
    boxes = {
        "asset_id": ids.take(np.repeat(np.arange(count), 2)),
        "annotation_id": pa.array([0, 1] * count, pa.uint64()),
        "class_id": pa.array([known["cat"], known["dog"]] * count, pa.int32()),
        "kind": ["box"] * (2 * count),
        **{side: pa.array([8.0] * (2 * count), pa.float32()) for side in "xywh"},
    }
    operation = Operation(kind="import")
    with store.edit(branch, op_id=branch.ljust(8, "0"), operation=operation, message="x") as edit:
        edit.put_taxonomy(Taxonomy.from_names(known))
        edit.put_assets(pa.table(assets))
        edit.put_layer("ground_truth", pa.table(boxes))


def picture(dice: np.random.Generator) -> bytes:
    file = io.BytesIO()
    noise = dice.integers(0, 255, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((48, 48), Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()


def run(root: Path, rev: str, *words: str) -> int:
    return main(["simulate", rev, *WORDS, *words, "--root", str(root)])


def again(done: Path, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """What it says; the same words train nothing."""
    capsys.readouterr()
    assert run(done, "parts", "--out", str(done / "out"), *words) == 0
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return said


def models_of(said: dict[str, Any]) -> dict[str, Any]:
    """Every model by the name of its file: what it was trained on, and what is labelled next."""
    folder = Path(said["report"]).parent / "models"
    return {path.name: json.loads(path.read_text()) for path in folder.iterdir()}


def test_every_strategy_starts_from_the_same_model(
    tmp_path: Path, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    branches = {branch.name: branch.seq for branch in repository.store.branches()}

    words = ("--strategies", "hybrid,executor", "--rounds", "2")
    assert run(tmp_path, "parts", *words) == 0

    said = json.loads(capsys.readouterr().out)
    folder = Path(said["report"]).parent
    cells = list(models_of(said).values())
    assert len(cells) == 1 + 2 * 2
    assert {cell["images"] for cell in cells} == {3, 6, 9}
    test_and_val = {*Parts.of(repository.store.read("parts")).test.to_pylist()}
    for cell in cells:
        assert len(set(cell["labelled"])) == cell["images"]
        assert not {bytes.fromhex(one) for one in cell["labelled"]} & test_and_val
        assert cell["boxes"] == 2 * cell["images"]
    first = next(cell for cell in cells if cell["number"] == 0)
    assert set(first["next"]) == {"hybrid", "executor"}
    assert [len(points) for points in said["curves"].values()] == [3, 3]
    # Without random the first is what the others are held against.
    assert [(each["strategy"], each["control"]) for each in said["against"]] == [
        ("executor", "hybrid")
    ]
    assert "no embeddings" in " ".join(said["notes"])
    assert {branch.name: branch.seq for branch in repository.store.branches()} == branches
    assert not list((folder / "jobs").iterdir())


def test_what_was_done_is_not_done_again(
    tmp_path: Path,
    repository: Repository,
    done: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import mir_ops.executor

    ran: list[str] = []
    really = mir_ops.executor.run_job
    limit = [3]

    def counted(job: Any, **more: Any) -> None:
        if len(ran) == limit[0]:
            raise KeyboardInterrupt
        ran.append(job.kind)
        really(job, **more)

    monkeypatch.setattr(mir_ops.executor, "run_job", counted)
    assert run(tmp_path, "parts") == 130
    limit[0] = 100
    assert run(tmp_path, "parts") == 0
    said = json.loads(capsys.readouterr().out)
    assert run(tmp_path, "parts") == 0

    # The first model is done; of the second the training was not waited for.
    assert ran == ["train", "infer", "train", *["train", "infer"] * 2]
    assert json.loads(capsys.readouterr().out) == said
    assert models_of(said) == models_of(again(done, capsys))


DIE = """
import os, sys
import mir_ops.executor, mir_ops.mining.simulation as simulation
from mir_ops.cli.main import main
at, left = sys.argv[1], [int(sys.argv[2])]
def dies(owner, name, after):
    really = getattr(owner, name)
    def here(*given, **named):
        left[0] -= 1
        if left[0] == 0 and not after:
            os.kill(os.getpid(), 9)
        found = really(*given, **named)
        if left[0] == 0:
            os.kill(os.getpid(), 9)
        return found
    setattr(owner, name, here)
owner = simulation if at == "write_cell" else mir_ops.executor
dies(owner, at, after=sys.argv[3] == "after")
sys.exit(main(sys.argv[4:]))
"""
# A training, a look at the images, a result: the same three for every model.
DEATHS = [
    ("run_job", 1, "before"), ("run_job", 1, "after"), ("run_job", 2, "before"),
    ("run_job", 4, "after"), ("remove_job", 1, "after"), ("remove_job", 3, "after"),
    ("write_cell", 1, "before"), ("write_cell", 1, "after"),
]  # fmt: skip


def check_deaths(
    root: Path, whole: dict[str, Any], capsys: pytest.CaptureFixture[str], deaths: list[Any]
) -> None:
    words = ["simulate", "parts", *WORDS, "--root", str(root)]
    for at, number, when in deaths:
        script = [sys.executable, "-c", DIE, at, str(number), when, *words]
        assert subprocess.run(script, capture_output=True, check=False).returncode == -9
    assert run(root, "parts") == 0
    said = json.loads(capsys.readouterr().out)

    assert {**said, "report": None} == {**whole, "report": None}
    assert models_of(said) == models_of(whole)


def test_a_killed_simulation_goes_on_and_says_the_same(
    tmp_path: Path, repository: Repository, done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deaths = [("run_job", 2, "after"), ("write_cell", 1, "before")]
    check_deaths(tmp_path, again(done, capsys), capsys, deaths)


@pytest.mark.long
def test_a_simulation_killed_anywhere_goes_on_and_says_the_same(
    tmp_path: Path, repository: Repository, done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_deaths(tmp_path, again(done, capsys), capsys, DEATHS)


def test_two_at_once_on_one_folder_are_refused(
    done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(again(done, capsys)["report"]).parent

    with (folder / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run(done, "parts", "--out", str(done / "out")) == 1
    assert f"Another process is at this simulation, in `{folder}`" in capsys.readouterr().err
    again(done, capsys)


def test_frozen_images_are_measured_on_and_never_trained_on(
    tmp_path: Path, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    store = repository.store
    version = store.read("parts")
    parts = Parts.of(version)
    for name, ids in (("tests", parts.test), ("more", parts.pool[:5]), ("val", parts.validation)):
        subset(store, "parts", name, asset_ids=ids, op_id=name.ljust(8, "0"))
        freeze(store, name, store.read(name).commit)

    assert run(tmp_path, "parts", "--strategies", "random") == 0

    said = json.loads(capsys.readouterr().out)
    labelled = {one for cell in models_of(said).values() for one in cell["labelled"]}
    assert not labelled & {one.hex() for one in parts.pool[:5].to_pylist()}
    kept = Parts.of(version, frozen_images(store, frozen_sets(store).values()))
    assert kept.test.equals(parts.test)
    apart = [set(each.to_pylist()) for each in (kept.pool, kept.validation, kept.test)]
    assert all(apart)
    assert sum(map(len, apart)) == len(set.union(*apart)) == 21


def test_more_seeds_go_on_with_the_others(
    tmp_path: Path, done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(done, mine)
    one = again(mine, capsys)
    assert "one seed says nothing of chance" in one["against"][0]["verdict"]
    models = Path(one["report"]).parent / "models"
    before = {path.name: path.stat().st_mtime_ns for path in models.iterdir()}

    assert again(mine, capsys, "--seeds", "4,5")["seeds"] == [4, 5]

    after = {path.name: path.stat().st_mtime_ns for path in models.iterdir()}
    assert len(after) == 2 * len(before)
    assert {name: after[name] for name in before} == before


def test_the_report_is_a_page_with_plots(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [word for word in WORDS if word != "--json"]
    where = ["--out", str(done / "out"), "--root", str(done)]

    assert main(["simulate", "parts", *words, *where]) == 0

    said = capsys.readouterr()
    page = Path(said.err.splitlines()[-1].removeprefix("Report: "))
    html = page.read_text()
    assert html.count('role="img"') == 2
    assert html.count("<polyline") == 4
    assert "25.0 for a box" in html
    assert "Cannot tell: one seed says nothing of chance; hybrid had" in html
    assert "<script" not in html
    assert said.out.splitlines()[0].split() == ["STRATEGY", "ROUND", "IMAGES", "BOXES", "MAP50"]
    assert "hybrid against random, 90 % intervals:" in said.out
    assert json.loads((page.parent / "simulation.json").read_text())["seeds"] == [4]


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_browser_draws_both_plots_with_round_numbers(tmp_path: Path) -> None:
    found = [*cells(None, [[0.5]] * 3, 0), *cells("random", RANDOM, 200)]
    found += cells("hybrid", BETTER, 210)
    worth = weigh(found, ("random", "hybrid"), Cost())
    page = write_simulation(worth, tmp_path, title="Would mining help?", lines=["On nothing."])

    with open_tab() as tab:
        tab.page.goto(page.as_uri())
        ticks = [
            chart.locator(".tick[text-anchor=middle]").all_text_contents()
            for chart in tab.page.locator(".chart").all()
        ]
        answers = tab.page.locator(".answer").all_inner_texts()
        assert (tab.complaints, tab.elsewhere(page.as_uri())) == ([], [])
    assert ticks == [
        ["50", "100", "150", "200", "250", "300", "350"],
        [*map(str, range(0, 700, 100))],
    ]
    assert answers == ["Hybrid is better than random, for the same images and the same boxes."]


def test_without_splits_a_fifth_measures(
    tmp_path: Path, repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = Parts.of(repository.store.read("all"))

    assert (len(parts.test), len(parts.pool)) == (6, 24)
    assert parts.note == "measured on 6 images drawn from all: there is no split"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--rounds", "7"), "20 labelled images can be chosen from, 24 are asked for"),
        (("--strategies", "random,hybird"), "No mining strategy named `hybird`"),
        (("--seeds", "1,x"), "`--seeds` is `1,x`"),
        (("--seeds", "1,1"), "Seeds are 1, 1"),
        (("--budget", "0"), "`budget` is 0"),
    ],
)
def test_what_cannot_be_simulated_is_refused(
    tmp_path: Path,
    repository: Repository,
    words: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(tmp_path, "parts", *words) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / ".mir" / "simulations").exists()


def cells(strategy: str | None, reached: list[list[float]], boxes: int) -> list[Cell]:
    """One list of mAP50 for each seed; round 0 is the first model, which all share."""
    return [
        Cell(
            seed=seed,
            strategy=strategy,
            number=number,
            images=100 * (number + 1),
            boxes=100 + boxes * number,
            map50=value,
            map50_95=value / 2,
            labelled=(),
            next={},
        )
        for seed, values in enumerate(reached)
        for number, value in enumerate(values, start=0 if strategy is None else 1)
    ]


def verdict(mine: list[list[float]], other: list[list[float]], *, boxes: int = 200) -> str:
    found = [
        *cells(None, [[0.5]] * len(mine), 0),
        *cells("random", other, 200),
        *cells("hybrid", mine, boxes),
    ]
    (against,) = weigh(found, ("random", "hybrid"), Cost()).against
    return against.verdict


RANDOM = [[0.60, 0.65], [0.61, 0.66], [0.59, 0.66]]
BETTER = [[0.66, 0.72], [0.68, 0.73], [0.66, 0.74]]


def test_better_for_the_same_images_and_boxes_is_said() -> None:
    said = "`hybrid` is better than `random`, for the same images and the same boxes"
    assert verdict(BETTER, RANDOM) == said


def test_better_only_by_more_boxes_is_said() -> None:
    said = verdict(BETTER, RANDOM, boxes=600)
    assert said.startswith("`hybrid` is better than `random` for the same images, and labels more")


def test_worse_is_said() -> None:
    assert verdict(RANDOM, BETTER) == "`hybrid` is worse than `random` on this data"


def test_no_difference_is_said_plainly() -> None:
    mine = [[0.61, 0.66], [0.60, 0.65], [0.60, 0.66]]
    said = "`random` is as good as `hybrid` on this data, to within 0.02 of mAP50"
    assert verdict(mine, RANDOM) == said


def test_where_seeds_differ_much_nothing_is_claimed() -> None:
    mine = [[0.71, 0.65], [0.50, 0.60], [0.63, 0.69]]
    assert verdict(mine, RANDOM) == (
        "cannot tell `hybrid` from `random` with 3 seeds: for the same images "
        "+0.002 [-0.126, +0.129]; more seeds narrow this"
    )


def test_saved_is_what_was_needed_less_to_get_as_far() -> None:
    found = [
        *cells(None, [[0.5]] * 2, 0),
        *cells("random", [[0.6, 0.7]] * 2, 200),
        *cells("hybrid", [[0.7, 0.8]] * 2, 300),
    ]

    (against,) = weigh(found, ("random", "hybrid"), Cost(per_image=36, per_box=36)).against

    saved = [against.saved_images, against.saved_boxes, against.saved_hours]
    assert [each and each.mean for each in saved] == pytest.approx([100, 100, 2])


def test_nothing_is_said_to_be_saved_where_it_was_not_reached() -> None:
    found = [*cells(None, [[0.5]] * 3, 0), *cells("random", BETTER, 200)]
    found += cells("hybrid", RANDOM, 200)

    (against,) = weigh(found, ("random", "hybrid"), Cost()).against

    assert (against.saved_images, against.saved_boxes, against.saved_hours) == (None, None, None)


def test_intervals_are_students() -> None:
    found = estimate([1.0, 2.0, 3.0])

    assert (found.mean, found.low) == (2.0, pytest.approx(2 - 2.920 / 3**0.5))
    assert estimate([1.0]).low is None


def test_a_damaged_file_is_named(tmp_path: Path, repository: Repository) -> None:
    from mir_ops.mining.simulation import read_cell

    damaged = tmp_path / "cell.json"
    damaged.write_text("{")
    with pytest.raises(InvalidInputError, match="is not what a simulation wrote"):
        read_cell(damaged)
