"""The guides' whole sequence, as a person types it: init … train … mining … merge … train."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
import yaml
from guide_data import write_set

from mir_ops.cli.main import main


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mir-demo-repo").mkdir()
    monkeypatch.chdir(tmp_path / "mir-demo-repo")
    assert main(["init"]) == 0
    labels = tmp_path / "mir-demo-repo/.mir/labels.yaml"
    labels.write_text("labels:\n- {id: 0, name: person}\n- {id: 1, name: cat}\n")
    for name, first, count in (("training", 0, 12), ("val", 100, 6), ("mining", 200, 10)):
        index = write_set(tmp_path / name, first, count)
        words = ["import", "--index-file", str(index), "--gt-dir", f"{tmp_path / name}/annotations"]
        words += ["--gen-dir", f"{tmp_path}/ymir-assets", "--unknown-types-strategy", "stop"]
        words += ["--anno-type", "det-box", "--dst-rev", f"dataset-{name}@import"]
        assert main(words) == 0
    sources = "tr:dataset-training@import;va:dataset-val@import"
    assert main(["merge", "--src-revs", sources, "--dst-rev", "tr-va@merged", "-s", "host"]) == 0
    words = ["--src-revs", "tr-va@merged", "--dst-rev", "tr-va@filtered", "-p", "person;cat"]
    assert main(["filter", *words]) == 0
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    capsys.readouterr()
    code = main(["--json", *words])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    found: dict[str, object] = json.loads(captured.out.splitlines()[0])
    return found


def write_settings(path: Path, executor: str, kind: str, **changes: object) -> Path:
    """What a person does: take the template, and change values in it."""
    assert main(["executor", "templates", executor, "--type", kind, "--output", str(path)]) == 0
    content = yaml.safe_load(path.read_text())
    assert changes.keys() <= content.keys() | {"width"}
    path.write_text(yaml.safe_dump({**content, **changes}))
    return path


def mine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], executor: str, first: dict[str, object]
) -> None:
    """Pick four images with the first model."""
    config = write_settings(tmp_path / "mining-config.yaml", executor, "mining")
    mining = ["mining", "--src-revs", "dataset-mining@import", "--dst-rev", "mining-0@mining"]
    mining += ["-w", f"{tmp_path}/work/mining-0", "--topk", "4", "--model-location"]
    mining += [f"{tmp_path}/ymir-models", "--media-location", f"{tmp_path}/assets"]
    mining += ["--model-hash", f"{first['model']}@{first['best_stage']}"]
    mining += ["--asset-cache-dir", f"{tmp_path}/cache", "--task-config-file", str(config)]
    mined = run(capsys, *mining, "--executor", executor, "--add-prediction")
    assert mined["images"] == 4
    assert f"predictions:{first['model']}" in mined["layers"]


def label_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was mined is exported, labelled by people, and imported."""
    export = ["export", "--asset-dir", f"{tmp_path}/export/assets", "--media-location", "x"]
    export += ["--pred-dir", f"{tmp_path}/export/annotations", "--src-revs", "mining-0@mining"]
    assert main([*export, "--asset-format", "raw", "--anno-format", "none"]) == 0
    exported = sorted((tmp_path / "export/assets").rglob("*.png"))
    assert len(exported) == 4
    index = tmp_path / "export/index.tsv"
    index.write_text("".join(f"{path}\n" for path in exported))

    gt_dir = tmp_path / "export/labelled"  # people have labelled meanwhile
    gt_dir.mkdir()
    corners = "<xmin>5</xmin><ymin>5</ymin><xmax>20</xmax><ymax>20</ymax>"
    for path in exported:
        (gt_dir / f"{path.stem}.xml").write_text(
            f"<annotation><object><name>cat</name><bndbox>{corners}</bndbox></object></annotation>"
        )
    words = ["import", "--index-file", str(index), "--gt-dir", str(gt_dir), "--gen-dir", "x"]
    words += ["--unknown-types-strategy", "stop", "--anno-type", "det-box"]
    assert run(capsys, *words, "--dst-rev", "labeled-0@import")["images"] == 4


@pytest.mark.parametrize(
    ("executor", "training", "stages"),
    [
        pytest.param("sample", {"expected_map": 0.7}, {"first", "best"}, id="sample"),
        pytest.param(
            "detector",
            {"iterations": 200, "width": 8},
            {"half", "last"},
            id="detector",
            marks=pytest.mark.long,
        ),
    ],
)
def test_the_guides_sequence(
    repository: Path,
    capsys: pytest.CaptureFixture[str],
    executor: str,
    training: dict[str, object],
    stages: set[str],
) -> None:
    tmp_path = repository
    config = write_settings(
        tmp_path / "training-config.yaml", executor, "training",
        class_names=["person", "cat"], **training,
    )  # fmt: skip
    train = ["train", "-w", f"{tmp_path}/work/train-0", "--media-location", f"{tmp_path}/assets"]
    train += ["--model-location", f"{tmp_path}/ymir-models", "--task-config-file", str(config)]
    train += ["--executor", executor, "--src-revs"]
    first = run(capsys, *train, "tr-va@filtered", "--dst-rev", "training-0@trained")
    assert set(first["stages"]) == stages
    package = tmp_path / "ymir-models" / str(first["model"])
    with tarfile.open(package) as archive:
        assert "ymir-info.yaml" in archive.getnames()
    assert main(["train", *train[1:], "tr-va@filtered", "--dst-rev", "training-0@trained"]) == 0
    said = capsys.readouterr()
    assert "This was done before" in said.err
    assert f"Model: {first['model']}" in said.out
    assert all(f"Stage: {stage}" in said.out for stage in stages)

    mine(tmp_path, capsys, executor, first)
    label_elsewhere(tmp_path, capsys)
    sources = "tr-va@filtered;tr:labeled-0@import"
    merged = run(
        capsys, "merge", "--src-revs", sources, "--dst-rev", "tr-va-1@merged", "-s", "host"
    )
    assert merged["images"] == 22

    second = run(
        capsys, *train, "tr-va-1@merged", "--dst-rev", "training-1@trained",
        "--model-hash", f"{str(first['model'])[:12]}@{first['best_stage']}",
    )  # fmt: skip
    assert set(second["stages"]) == stages
    assert (tmp_path / "ymir-models" / str(second["model"])).is_file()

    found = run(
        capsys, "infer", "--src-revs", "dataset-mining@import", "--dst-rev", "predicted@infer",
        "--model-hash", str(second["model"]), "--executor", executor,
    )  # fmt: skip
    assert found["images"] == 10
    assert found["predictions"]["images"] == 10  # type: ignore[index]
