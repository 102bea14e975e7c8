"""YMIR's user guides, followed word for word; only the executor is another one."""

from __future__ import annotations

import io
import json
import re
import shlex
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml
from guide_commands import as_the_shell_cuts, blocks_of, commands_in, quoted
from PIL import Image

from mir_ops.cli.main import main

TOPK = 200


class Reader:
    """Somebody who follows a guide; absolute paths are below `root`."""

    def __init__(self, guide: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.blocks = blocks_of(guide)
        self.root = root
        self._patch = monkeypatch
        (root / "home").mkdir()
        monkeypatch.setenv("HOME", str(root / "home"))
        monkeypatch.chdir(root)

    def here(self, text: str) -> str:
        for place in ("/path/to/", "/data/", "/tmp/ymir/"):
            text = text.replace(place, f"{self.root}{place}")
        return text

    def follow(self, number: int) -> None:
        """Run each command of a block."""
        for command in commands_in(self.blocks[number]):
            self.type(quoted(command))

    def follow_with(self, executor: str, number: int) -> None:
        """Run the one command of a block with another executor, and the model trained last."""
        (command,) = commands_in(self.blocks[number])
        command = re.sub(r"--executor \S+", f"--executor {executor}", command)
        if "<hash>" in command:
            command = command.replace("<hash>", self.model).replace("<inter-model-name>", "first")
        self.type(command)

    @property
    def model(self) -> str:
        """The id that `~/ymir-models` gained last."""
        models = (self.root / "home/ymir-models").iterdir()
        return max(models, key=lambda path: path.stat().st_mtime_ns).name

    def type(self, command: str) -> None:
        command = self.here(command)
        if command.startswith("mir "):
            words = [word.replace("~", str(self.root / "home")) for word in shlex.split(command)]
            assert main(words[1:]) == 0, command
        else:
            done = subprocess.run(
                ["bash", "-ec", f"{command}; pwd"], capture_output=True, text=True, check=True
            )
            self._patch.chdir(done.stdout.splitlines()[-1])

    def data_set(self, name: str, first: int, count: int, *classes: str, labelled: int) -> None:
        """An index and a folder of annotations under the names that the guides use."""
        images = self.root / f"path/to/{name}-images"
        annotations = self.root / f"path/to/{name}-dataset-annotation-dir"
        images.mkdir(parents=True)
        annotations.mkdir()
        for number in range(count):
            Image.new("RGB", (16, 16), (first, number // 256, number % 256)).save(
                images / f"{number}.png"
            )
            if number < labelled:
                write_voc(annotations / f"{number}.xml", classes[number % len(classes)])
        index = self.root / f"path/to/{name}-dataset-index.tsv"
        index.write_text("".join(f"{path}\n" for path in sorted(images.iterdir())))


def write_voc(path: Path, name: str) -> None:
    corners = "<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>"
    path.write_text(
        f"<annotation><object><name>{name}</name><bndbox>{corners}</bndbox></object></annotation>"
    )


def unpack_voc(reader: Reader) -> None:
    """The data set of 4.2.1, and its index."""
    picture = io.BytesIO()
    Image.new("RGB", (16, 16)).save(picture, "JPEG")
    (reader.root / "data").mkdir()
    with tarfile.open(reader.root / "data/VOC2012test.tar", "w") as archive:
        for name in ("2009_001200", "2009_004006"):
            entry = tarfile.TarInfo(f"VOCdevkit/VOC2012/JPEGImages/{name}.jpg")
            entry.size = len(picture.getvalue())
            archive.addfile(entry, io.BytesIO(picture.getvalue()))
    reader.type("cd /data/")
    reader.follow(0)
    reader.follow(2)
    listed = (reader.root / "data/index.tsv").read_text().splitlines()
    assert sorted(listed)[0] == reader.here(reader.blocks[3].splitlines()[0])


def label_what_was_exported(reader: Reader) -> None:
    """What people do between 4.2.6 and the import of their labels."""
    exported = reader.root / "tmp/ymir/export/export-0"
    listed = (exported / "index.tsv").read_text().splitlines()
    assert any(Path(line).is_dir() for line in listed)
    (exported / "annotations").mkdir(exist_ok=True)
    images = [Path(line) for line in listed if line.endswith((".png", ".jpg"))]
    assert len(images) == TOPK
    for image in images:
        write_voc(exported / "annotations" / f"{image.stem}.xml", "person")


def shown(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def assets_are_not_in_the_repository(reader: Reader) -> None:
    home = reader.root / "home"
    assert not list((home / "mir-demo-repo").rglob("blobs/**/*"))
    assert len([path for path in (home / "ymir-assets/blobs").rglob("*") if path.is_file()]) == 240


def test_the_first_guide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reader = Reader("guide-1.1.zh.md", tmp_path, monkeypatch)
    unpack_voc(reader)
    reader.data_set("training", 1, 25, "person", "cat", "tv", labelled=20)
    reader.data_set("val", 2, 15, "cat", "television", labelled=10)
    reader.data_set("mining", 3, 200, "person", "cat", "car", "airplane", labelled=113)

    reader.follow(4)
    labels = tmp_path / "home/mir-demo-repo/labels.csv"
    assert labels.read_text() == reader.blocks[5]
    labels.write_text(reader.blocks[6])
    assert main(["classes"]) == 0
    labels.write_text(reader.blocks[7] + "3,,car\n4,,airplane\n")
    reader.follow(8)
    assets_are_not_in_the_repository(reader)

    capsys.readouterr()
    reader.follow(9)
    there_are_four_branches(capsys)
    reader.follow(10)
    assert shown(capsys)[:5] == reader.blocks[11].splitlines()

    (typed,) = commands_in(reader.blocks[12])
    first, rest = as_the_shell_cuts(typed)
    assert main(first[1:]) == 1
    assert "The shell cuts a list at `;` unless it is quoted" in capsys.readouterr().err
    assert rest[0] == "va:dataset-val@import"
    reader.follow(12)
    capsys.readouterr()
    reader.follow(13)
    assert shown(capsys)[:5] == [
        "person;cat;tv",
        "",
        "metadatas.mir: 40 assets, tr: 25, va: 15, te: 0, unknown: 0",
        "annotations.mir: hid: merged, 30 assets",
        "tasks.mir: hid: merged",
    ]
    reader.follow(15)

    train_and_mine(reader, "sample", 17, 18, capsys)
    reader.follow(19)
    label_what_was_exported(reader)
    reader.follow(20)
    reader.follow(21)
    the_loop_is_closed(capsys)
    before = reader.model
    reader.follow_with("sample", 22)
    assert reader.model != before


@pytest.mark.parametrize(
    "runner", ["process", pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.long])]
)
def test_the_second_guide(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
    runner: str,
) -> None:
    executor = "sample" if runner == "process" else request.getfixturevalue("sample_image")
    reader = Reader("guide-2.0.zh.md", tmp_path, monkeypatch)
    unpack_voc(reader)
    reader.data_set("training", 1, 25, "person", "cat", "tv", labelled=20)
    reader.data_set("val", 2, 15, "cat", "television", labelled=10)
    reader.data_set("mining", 3, 200, "car", "frisbee", labelled=113)

    reader.follow(4)
    labels = tmp_path / "home/mir-demo-repo/.mir/labels.yaml"
    for number, classes in ((5, 2), (6, 3), (7, 3)):
        labels.write_text(reader.blocks[number])
        capsys.readouterr()
        assert main(["classes"]) == 0
        assert len(shown(capsys)) == 1 + classes
    first, *_ = (command for command in commands_in(reader.blocks[8]) if "import" in command)
    assert main(shlex.split(reader.here(first))[1:]) == 1
    assert "Nobody declared these classes: `person` (7), `cat` (7)" in capsys.readouterr().err
    labels.write_text(labels.read_text() + "- {id: 3, name: person}\n- {id: 4, name: cat}\n")
    reader.follow(8)
    assets_are_not_in_the_repository(reader)

    capsys.readouterr()
    reader.type("mir branch")  # the guide has `git branch`
    there_are_four_branches(capsys)
    reader.follow(10)
    assert shown(capsys)[2] == "metadatas.mir: 200 assets, tr: 0, va: 0, te: 0, unknown: 200"
    reader.follow(11)
    reader.follow(12)
    reader.follow(13)

    train_and_mine(reader, executor, 15, 16, capsys)
    reader.follow(17)
    label_what_was_exported(reader)
    reader.follow(18)
    reader.follow(19)
    the_loop_is_closed(capsys)
    before = reader.model
    reader.follow_with(executor, 20)
    assert reader.model != before


def train_and_mine(
    reader: Reader, executor: str, training: int, mining: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """4.2.4 and 4.2.5, with settings as `mir executor templates` writes them."""
    home = reader.root / "home"
    for kind in ("training", "mining"):
        path = home / f"{kind}-config.yaml"
        words = ["executor", "templates", executor, "--type", kind, "--output", str(path)]
        assert main(words) == 0
    settings = yaml.safe_load((home / "training-config.yaml").read_text())
    settings |= {"class_names": ["person", "cat"]}
    (home / "training-config.yaml").write_text(yaml.safe_dump(settings))

    capsys.readouterr()
    reader.follow_with(executor, training)
    said = shown(capsys)
    assert f"Model: {reader.model}" in said
    assert [line.split()[1].strip(":") for line in said if "Stage: " in line] == ["best", "first"]
    unpacked = reader.root / "unpacked"
    unpacked.mkdir()
    words = ["tar", "-xf", str(home / "ymir-models" / reader.model), "-C", str(unpacked)]
    subprocess.run(words, check=True)
    assert {"first", "best", "ymir-info.yaml"} <= {path.name for path in unpacked.iterdir()}

    reader.follow_with(executor, mining)
    capsys.readouterr()
    assert main(["--json", "show", "--src-revs", "mining-0@mining"]) == 0
    assert json.loads(shown(capsys)[0])["images"] == TOPK


def there_are_four_branches(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line.removeprefix("*").split()[0] for line in shown(capsys)[1:]]
    assert lines == ["dataset-mining", "dataset-training", "dataset-val", "master"]
    assert (Path(".mir") / "HEAD").read_text() == "dataset-mining\n"


def the_loop_is_closed(capsys: pytest.CaptureFixture[str]) -> None:
    """The new labels are in the training set, and for training."""
    capsys.readouterr()
    assert main(["show", "--src-revs", "tr-va-1@merged"]) == 0
    assert shown(capsys)[2:][:3] == [
        "metadatas.mir: 219 assets, tr: 214, va: 5, te: 0, unknown: 0",
        "annotations.mir: hid: merged, 219 assets",
        "tasks.mir: hid: merged",
    ]
