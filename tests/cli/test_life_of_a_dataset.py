"""docs/life-of-a-dataset.md: what its users type prints what it says."""

from __future__ import annotations

import io
import re
import shlex
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from mir_ops.cli.main import main

DOCUMENT = Path(__file__).parents[2] / "docs" / "life-of-a-dataset.md"
ARCHIVES = {
    "street-1.zip": ["person", "person", "person", "car", "car", "cat"],
    "street-2.zip": ["person", "person", "car", "cat"],
}


def steps() -> Iterator[tuple[str, str, list[str]]]:
    """Who types what, and the lines that follow."""
    for block in re.findall(r"```console\n(.*?)```", DOCUMENT.read_text(), re.DOTALL):
        for step in re.split(r"^(?=\w+\$ )", block, flags=re.MULTILINE)[1:]:
            typed, *lines = step.rstrip("\n").split("\n")
            user, _, command = typed.partition("$ ")
            yield user, command.partition("  #")[0], lines


def same(line: str) -> str:
    """Without what differs each time: ids and times."""
    return re.sub(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME", re.sub(r"\b[0-9a-f]{12}\b", "ID", line)
    )


def write_archive(path: Path, first: int, classes: list[str]) -> None:
    corners = "<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>"
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(classes, first):
            written = io.BytesIO()
            Image.new("RGB", (16, 16), (number, 0, 0)).save(written, "PNG")
            archive.writestr(f"images/{number}.png", written.getvalue())
            archive.writestr(
                f"annotations/{number}.xml",
                f"<annotation><object><name>{name}</name><bndbox>{corners}</bndbox></object>"
                "</annotation>",
            )


def test_two_people_live_through_the_three_scenarios(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = 0
    for name, classes in ARCHIVES.items():
        write_archive(tmp_path / name, first, classes)
        first += len(classes)
    done = []
    for user, command, expected in steps():
        (tmp_path / user).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / user)
        monkeypatch.setenv("MIR_AUTHOR", user)
        capsys.readouterr()

        main(shlex.split(command)[1:])

        captured = capsys.readouterr()
        printed = (captured.out + captured.err).replace(str(tmp_path), "/home")
        assert [same(line) for line in printed.splitlines() if line] == [
            same(line) for line in expected if line
        ], command
        done.append(command.split()[1])
    assert {"checkout", "filter", "search", "update", "keywords", "tag", "sampling"} <= {*done}
