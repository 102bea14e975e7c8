"""What a person types from the guides, and one round on the same data: the same comes of both.

Compared are the images that were picked; the rows of both training versions, images with their
split and boxes with their class; the ids of both models, which are digests of their files, and the
metrics that the executor gave them. Ids of commits differ: they hold times, branches and
operations. Class ids differ where the stores numbered classes otherwise, so names are compared.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from guide_data import write_set
from round_data import TASKS, Run

from mir_ops.catalog import apply_project
from mir_ops.cli.main import main
from mir_ops.dataset import import_dataset
from mir_ops.labeling import LabelBackend, open_backend
from mir_ops.store import Store, Version
from mir_ops.workspace import Workspace

CLASSES = ["person", "cat"]
TOP = 4


@dataclass(frozen=True)
class Typed:
    """What the commands of the guide left."""

    first: dict[str, Any]
    mined: Version
    merged: Version
    second: dict[str, Any]


class Person:
    """Types commands in a repository."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], executor: str) -> None:
        self.folder, self.capsys, self.executor = folder, capsys, executor

    def types(self, *words: str) -> dict[str, Any]:
        self.capsys.readouterr()
        code = main(["--json", *words])
        said = self.capsys.readouterr()
        assert code == 0, said.err
        found: dict[str, Any] = json.loads(said.out.splitlines()[0])
        return found

    def settings(self, kind: str, **values: Any) -> str:
        path = self.folder / f"{kind}-config.yaml"
        main(["executor", "templates", self.executor, "--type", kind, "--output", str(path)])
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **values}))
        return str(path)

    def imports(self, name: str, index: Path, gt_dir: Path) -> None:
        self.types(
            "import", "--index-file", str(index), "--gt-dir", str(gt_dir),
            "--gen-dir", str(self.folder / "ymir-assets"), "--anno-type", "det-box",
            "--unknown-types-strategy", "stop", "--dst-rev", name,
        )  # fmt: skip

    def trains(self, source: str, name: str, config: str) -> dict[str, Any]:
        return self.types(
            "train", "-w", str(self.folder / name), "--task-config-file", config,
            "--model-location", str(self.folder / "ymir-models"), "--executor", self.executor,
            "--src-revs", source, "--dst-rev", f"{name}@trained",
        )  # fmt: skip

    def merges(self, sources: str, name: str) -> None:
        self.types("merge", "--src-revs", sources, "--dst-rev", name, "-s", "host")

    def follows_the_guide(self, training: dict[str, Any]) -> Typed:
        data = self.folder / "data"
        self.types("init")
        labels = Path(".mir/labels.yaml")
        labels.write_text("labels:\n- {id: 0, name: person}\n- {id: 1, name: cat}\n")
        for name in ("training", "validation", "pool"):
            self.imports(f"dataset-{name}@import", data / name / "index.tsv",
                         data / name / "annotations")  # fmt: skip
        self.merges("tr:dataset-training@import;va:dataset-validation@import", "tr-va@merged")
        self.types("filter", "--src-revs", "tr-va@merged", "--dst-rev", "tr-va@filtered",
                   "-p", "person;cat")  # fmt: skip
        config = self.settings("training", class_names=CLASSES, **training)
        first = self.trains("tr-va@filtered", "training-0", config)
        self.types(
            "mining", "--src-revs", "dataset-pool@import", "--dst-rev", "mining-0@mining",
            "-w", str(self.folder / "mining-0"), "--topk", str(TOP), "--executor", self.executor,
            "--model-hash", f"{first['model']}@{first['best_stage']}",
            "--task-config-file", self.settings("mining"),
        )  # fmt: skip
        self.types(
            "export", "--src-revs", "mining-0@mining", "--asset-dir", str(self.folder / "picked"),
            "--asset-format", "raw", "--anno-format", "none",
        )  # fmt: skip
        self.imports("labeled-0@import", *self.has_them_labelled())
        self.merges("tr-va@filtered;tr:labeled-0@import", "tr-va-1@merged")
        second = self.trains("tr-va-1@merged", "training-1", config)
        store = Store.open((Path(".mir") / "store").resolve().as_uri())
        return Typed(first, store.read("mining-0"), store.read("tr-va-1"), second)

    def has_them_labelled(self) -> tuple[Path, Path]:
        """People draw what is really there; the exported images are known by their bytes."""
        truth = {digest(path): path.stem for path in (self.folder / "data/pool/images").iterdir()}
        labelled = self.folder / "labelled"
        labelled.mkdir()
        exported = sorted((self.folder / "picked").rglob("*.png"))
        for path in exported:
            drawn = self.folder / f"data/pool/annotations/{truth[digest(path)]}.xml"
            (labelled / f"{path.stem}.xml").write_text(drawn.read_text())
        index = self.folder / "picked.tsv"
        index.write_text("".join(f"{path}\n" for path in exported))
        return index, labelled


class Deployment:
    """The same data as a project; who labels knows what is really there."""

    def __init__(self, folder: Path, executor: str, training: dict[str, Any]) -> None:
        self.folder = folder
        self.ws = self.workspace()
        Store.open(self.ws.store_url, create=True)
        truth = Store.open((folder / "truth").as_uri(), create=True)
        import_dataset(truth, folder / "data/pool", "truth", op_id="0" * 64, unknown_classes="add")
        apply_project(self.ws.catalog, self.project(executor, training))

    def workspace(self) -> Workspace:
        return Workspace(
            store_url=(self.folder / "store").as_uri(),
            catalog_url=f"sqlite:///{self.folder / 'catalog.db'}",
            work_dir=self.folder / "work",
        )

    def oracle(self) -> LabelBackend:
        options = {"store_url": (self.folder / "truth").as_uri(), "rev": "truth"}
        return open_backend("oracle", options=options)

    def project(self, executor: str, training: dict[str, Any]) -> dict[str, Any]:
        return {
            "name": "digits",
            "classes": CLASSES,
            "sources": {
                role: str(self.folder / "data" / role)
                for role in ("training", "validation", "pool")
            },
            "executor": {"name": executor, "config": {"train": training}},
            "mining": {"strategy": "executor", "budget": TOP, "control": 0},
            "labels": {"backend": "oracle"},
            "train_after_merge": True,
        }


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def images(version: Version) -> list[tuple[Any, ...]]:
    rows = version.assets(columns=["asset_id", "split", "width", "height", "media_type"])
    return sorted(tuple(row.values()) for row in rows.to_pylist())


def boxes(version: Version) -> list[tuple[Any, ...]]:
    rows = version.layer("ground_truth").to_pylist()
    name = version.taxonomy.name_of
    return sorted(
        (
            row["asset_id"],
            name(row["class_id"]),
            row["kind"],
            row["x"],
            row["y"],
            row["w"],
            row["h"],
        )
        for row in rows
    )


@pytest.mark.parametrize(
    ("executor", "training"),
    [
        pytest.param("sample", {"expected_map": 0.7, "seed": 3}, id="sample"),
        pytest.param(
            "detector",
            {"iterations": 60, "width": 8, "seed": 3},
            id="detector",
            marks=[pytest.mark.long, pytest.mark.timeout(1800)],
        ),
    ],
)
def test_a_round_does_what_the_guide_does(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    executor: str,
    training: dict[str, Any],
) -> None:
    for name, first, count in (("training", 0, 12), ("validation", 100, 6), ("pool", 200, 10)):
        write_set(tmp_path / "data" / name, first, count)
    (tmp_path / "mir-demo-repo").mkdir()
    monkeypatch.chdir(tmp_path / "mir-demo-repo")

    typed = Person(tmp_path, capsys, executor).follows_the_guide(training)
    run = Run(Deployment(tmp_path, executor, training), "run-1")
    left = run.all((*TASKS[:-1], "train_last", "evaluate_last", "close_round"))

    read = run.ws.store.read
    assert images(read(left["mine"]["commit"])) == images(typed.mined)
    assert len(images(typed.mined)) == TOP
    assert images(read(left["merge_labels"]["commit"])) == images(typed.merged)
    assert boxes(read(left["merge_labels"]["commit"])) == boxes(typed.merged)
    assert len(boxes(typed.merged)) == 12 + 6 + TOP
    for step, model in (("train", typed.first), ("train_last", typed.second)):
        assert left[step]["model_id"] == model["model"], step
        assert left[step]["stage"] == model["best_stage"]
        assert left[step]["metrics"] == model["stages"][model["best_stage"]]
