"""An executor's folder whose code changed is another input; what it wrote there is none."""

from __future__ import annotations

import shutil
from pathlib import Path

from round_data import House, Run

from mir_ops.executor import bundled_image
from mir_ops.executor.images import code_digest

BEFORE_MODEL = ("open_round", "import_data", "merge_training")


def test_a_cleared_training_runs_anew_when_its_code_changed(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    bundled = bundled_image("sample").folder
    assert bundled is not None
    shutil.copytree(bundled, folder)
    shutil.copytree(bundled.with_name("sdk"), folder.with_name("sdk"))
    first = code_digest(folder)
    run = Run(House(tmp_path, {"executor": {"name": "mine", "folder": str(folder)}}), "run")
    run.all((*BEFORE_MODEL, "train"))
    (folder / "weights.pt").write_bytes(b"downloaded")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "made.py").write_text("made = 1")
    run.all(("train",))
    assert run.jobs == ["train"]

    with (folder / "start.py").open("a") as file:
        file.write("# better\n")
    run.all(("train",))

    assert run.jobs == ["train", "train"]
    models = run.ws.catalog.models.list("digits")
    assert [one.image["digest"] for one in models] == [first, code_digest(folder)]
