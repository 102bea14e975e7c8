"""The backend that docs/labeling.md shows, installed as a package of its own."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from label_requests import FIRST, SECOND, THIRD, small_request

from mir_ops.catalog import read_project
from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.labeling import LabelBackend, LabelProgress, open_backend

DOCUMENT = Path(__file__).parents[2] / "docs" / "labeling.md"


@pytest.fixture
def spreadsheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabelBackend:
    code, entry = re.findall(r"```(?:python|toml)\n(.*?)```", DOCUMENT.read_text(), re.S)
    assert len(code.splitlines()) < 200
    package = tmp_path / "site" / "spreadsheets-1.dist-info"
    package.mkdir(parents=True)
    (tmp_path / "site" / "spreadsheets.py").write_text(code)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: spreadsheets\nVersion: 1\n")
    group, line = entry.strip().splitlines()
    assert group == '[project.entry-points."mir_ops.label_backends"]'
    (package / "entry_points.txt").write_text(
        f"[mir_ops.label_backends]\n{line.replace(chr(34), '')}\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.delitem(sys.modules, "spreadsheets", raising=False)
    return open_backend("spreadsheet", options={"path": str(tmp_path)})


def test_a_backend_of_ones_own_takes_part(spreadsheet: LabelBackend, tmp_path: Path) -> None:
    request = small_request()
    task_id = spreadsheet.create(request)
    table = tmp_path / f"{task_id}.csv"
    lines = [
        f"{FIRST},two,1,2,10,8",
        f"{SECOND},-,,,,",
        f"{THIRD},three,1,2,3,4",
        "../x,one,1,1,1,1",
    ]
    table.write_text("\n".join(["image,class,x,y,w,h", *lines]))

    result = spreadsheet.fetch(task_id, request)

    assert spreadsheet.create(request) == task_id
    assert spreadsheet.progress(task_id) == LabelProgress(total=4, done=4)
    assert [found.hex() for found in result.done.to_pylist()] == [FIRST, SECOND]
    assert [(row["class_id"], row["x"]) for row in result.annotations.to_pylist()] == [(3, 1.0)]
    assert result.refused == {THIRD: f"row 4 of {task_id}.csv cannot be taken"}
    with pytest.raises(NotFoundError):
        spreadsheet.close("../x")


def test_a_project_may_name_a_backend_that_is_installed(spreadsheet: LabelBackend) -> None:
    mapping = {
        "name": "p",
        "classes": ["one"],
        "sources": {"training": "/t", "validation": "/v", "pool": "/p"},
        "executor": {"name": "sample"},
        "labels": {"backend": "spreadsheet"},
    }
    assert read_project(mapping).labels.backend == spreadsheet.kind

    with pytest.raises(InvalidInputError) as caught:
        read_project({**mapping, "labels": {"backend": "post-its"}})
    assert "no label backend named `post-its`" in str(caught.value)
