"""The commands that make versions of versions, run as a user runs them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from dataset_rows import Row, put

from mir_ops.cli.main import main
from mir_ops.store import Store

IMAGES = [
    Row(
        name=f"{n}",
        boxes=["cat"] if n % 2 else ["dog", "cat"],
        attributes={"weather": "rain"} if n < 4 else {},
        size=(100 + n, 50),
        split="train" if n < 15 else "val",
    )
    for n in range(20)
]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with 20 images on the branch `all`, every second one with a dog."""
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    put(Store.open((tmp_path / ".mir/store").as_uri()), "all", IMAGES)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    capsys.readouterr()
    code = main(["--json", *words])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    found: dict[str, object] = json.loads(captured.out.splitlines()[0])
    return found


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["-p", "dog"], 10),
        (["--cis", "cat;dog", "--match", "all"], 10),
        (["--ex-cis", "dog", "--filter-anno-src", "gt"], 10),
        (["--attributes", "weather=rain", "--splits", "tr"], 4),
        (["--ex-attributes", "weather", "--width", "110:"], 10),
        (["--splits", "va;te", "--boxes", "2"], 2),
        (["--height", ":49"], 0),
    ],
)
def test_filter_understands_every_condition(
    repository: Path, capsys: pytest.CaptureFixture[str], words: list[str], kept: int
) -> None:
    assert run(capsys, "filter", "all", *words, "--to", "out@1")["images"] == kept


def test_fuse_takes_the_flags_of_merge_filter_and_sampling(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--src-revs", "va:all", "--ex-src-revs", "few", "-s", "host", "-p", "dog"]
    run(capsys, "sampling", "all", "--count", "4", "--seed", "7", "--to", "few")

    done = run(capsys, "fuse", *words, "--rate", "0.5", "--seed", "3", "--dst-rev", "out@1")

    assert (done["operation"], done["seed"]) == ("fuse", 3)
    assert 3 <= int(str(done["images"])) <= 5
    assert run(capsys, "fuse", *words, "--rate", "0.5", "--seed", "3", "--dst-rev", "out@1")[
        "again"
    ]


def test_split_divides_by_rates_and_by_counts(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = ["--rates", "tr:0.5;va:0.25;te:0.25", "--stratify", "class"]
    done = run(capsys, "split", "all", *rates, "--to", "out@1")
    assert done["splits"] == {"train": 10, "val": 5, "test": 5}

    done = run(capsys, "split", "all", "--counts", "tr:3", "--seed", "1", "--to", "out@2")
    assert done["splits"] == {"none": 17, "train": 3}


@pytest.mark.parametrize(
    "words",
    [
        ["filter", "all", "--width", "a:b", "--to", "out"],
        ["filter", "all", "--splits", "dev", "--to", "out"],
        ["split", "all", "--rates", "tr:half", "--to", "out"],
        ["split", "all", "--rates", "tr:0.1;train:0.1", "--to", "out"],
        ["split", "all", "--rates", "tr:1", "--seed", "9" * 20, "--to", "out"],
        ["sampling", "all", "--rate", "nan", "--to", "out"],
        ["sampling", "all", "--rate", "0.5", "--seed", "-" + "9" * 20, "--to", "out"],
        ["dedup", "all", "--distance", "9", "--to", "out"],
        ["dedup", "all", "--distance", "-1", "--leaks"],
        ["copy", "--src-root", "nowhere", "--src-revs", "all", "--to", "out"],
        ["sampling", "all", "--rate", "0.5", "--stratify", "weather", "--to", "out"],
    ],
)
def test_what_cannot_be_understood_comes_with_a_hint(
    repository: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main(words) == 1

    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "\n\nhint: " in said
    assert not (repository / ".mir/store/refs/heads/out").exists()


def test_dedup_lists_or_removes_what_is_alike(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        Row(name="one", hashed=0xFF00, split="train"),
        Row(name="two", hashed=0xFF01, split="val"),
        Row(name="three", hashed=0xFFFF0000, split="val"),
    ]
    store = Store.open((repository / ".mir/store").as_uri())
    put(store, "alike", rows)

    assert {run(capsys, "dedup", "alike")[key] for key in ("name", "like_name")} == {"one", "two"}
    leak = run(capsys, "dedup", "alike", "--leaks")
    assert (leak["split"], leak["name"], leak["like_name"], leak["distance"]) == (
        *("val", "two", "one", 1),
    )
    done = run(capsys, "dedup", "alike", "--distance", "0", "--to", "out@0")
    assert (done["removed"], done["images"]) == (0, 3)
    done = run(capsys, "dedup", "alike", "--to", "out@4")
    assert (done["removed"], done["images"]) == (1, 2)
    done = run(capsys, "dedup", "alike", "--against", "alike@V1", "--exact", "--to", "out@x")
    assert (done["removed"], done["images"]) == (3, 0)

    assert main(["dedup", "alike"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[0].split() == ["IMAGE", "NAME", "LIKE", "LIKE", "NAME", "DISTANCE"]
    assert "1 of 3 images are like another one that stays" in said.err
    assert main(["dedup", "alike", "--leaks", "--to", "out"]) == 1


def test_merge_unites_the_boxes_of_all(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.open((repository / ".mir/store").as_uri())
    put(store, "other", [Row(name="0", boxes=["dog", "cat", "bird"])])

    done = run(capsys, "merge", "--src-revs", "all;other", "-s", "union", "--to", "both")

    assert done["layers"] == {"ground_truth": 31}


def test_the_python_of_the_document_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    put(Store.open("my-store", create=True), "street", IMAGES)
    document = (Path(__file__).parents[2] / "docs/datasets.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", document, re.DOTALL)

    found: dict[str, object] = {}
    exec(code, found)

    assert len(found["ids"]) == 2  # type: ignore[arg-type]
