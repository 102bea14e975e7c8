"""What the page for authors shows works as it stands."""

from __future__ import annotations

from pathlib import Path

from mir_ops.executor import bundled_folder
from mir_ops.executor.checks import TEXTS, check_executor
from mir_ops.executor.images import open_executor

PAGE = Path(__file__).parents[2] / "docs/executors.md"
OWN = """
import json
from pathlib import Path


class Model:
    def predict(self, image: Path):
        assert image.is_file()
        return [(0, 0.5, 3, 4, 10, 11)]


def fit(images, labels, classes, epochs, on_epoch):
    assert len(images) == len(labels)
    assert {number for boxes in labels for number, *_ in boxes} == set(range(len(classes)))
    for number in range(1, epochs + 1):
        on_epoch(number, json.dumps(classes).encode() + b" " * number, number / (epochs + 1))


def load(path: Path):
    json.loads(path.read_text())
    return Model()
"""


def test_wrapped_train_py_keeps_the_contract_in_under_60_lines(tmp_path: Path) -> None:
    code = PAGE.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    assert len(code.strip().splitlines()) < 60
    folder = tmp_path / "wrapped"
    (folder / "img-man").mkdir(parents=True)
    for kind in ("training", "mining", "infer"):
        (folder / f"img-man/{kind}-template.yaml").write_text("epochs: 2\n")
    (folder / "start.py").write_text(code)
    (folder / "train.py").write_text(OWN)
    (folder / "mir_executor").symlink_to(bundled_folder("sample").parent / "sdk/mir_executor")

    clauses = check_executor(
        open_executor(str(folder)),
        runner="process",
        config={},
        time_seconds=60,
        on_clause=lambda _: None,
    )

    assert {c.name: c.detail for c in clauses if c.state == "failed"} == {}
    assert {c.name for c in clauses if c.state == "not claimed"} == {
        "infer-probs",
        "infer-embeddings",
    }


def test_every_clause_is_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in TEXTS if f"`{name}`" not in text] == []
