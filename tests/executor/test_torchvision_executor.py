"""The executor of standard detectors: where torchvision does not load, all but its networks."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mir_ops.executor import ExecutorFailedError, bundled_folder, collect_training, run_job
from mir_ops.executor.checks import check_executor
from mir_ops.executor.images import open_executor

torch = pytest.importorskip("torch")

ARCHITECTURE = "fasterrcnn_mobilenet_v3_large_fpn"
# A network of the same interface: losses while it trains, boxes when it looks.
STAND_IN = f"""
import torch
from torch import nn

class Network(nn.Module):
    def __init__(self, classes, size):
        super().__init__()
        self.body = nn.Parameter(torch.zeros(3))
        self.head = nn.Parameter(torch.zeros(classes))
        self.size = size

    def forward(self, images, targets=None):
        if self.training:
            assert all(image.dim() == 3 for image in images)
            boxes = torch.cat([target["boxes"] for target in targets])
            assert (boxes[:, 2:] > boxes[:, :2]).all()
            labels = torch.cat([target["labels"] for target in targets])
            asked = nn.functional.one_hot(labels, len(self.head)).float().mean(0)
            body = ((self.body - 1) ** 2).sum()
            return {{"head": ((self.head - asked) ** 2).sum(), "body": body}}
        found = []
        for image in images:
            height, width = image.shape[1:]
            box = torch.tensor([[1.0, 1.0, width - 1.0, height - 1.0]])
            label = int(self.head[1:].argmax()) + 1
            found.append({{"boxes": box, "labels": torch.tensor([label]),
                           "scores": torch.sigmoid(self.body.mean())[None]}})
        return found

def {ARCHITECTURE}(*, weights, weights_backbone, num_classes, min_size, max_size):
    assert weights is None and weights_backbone is None
    return Network(num_classes, max_size)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The executor's own code, over a stand-in for the networks of torchvision."""
    own = bundled_folder("torchvision")
    shutil.copytree(own, tmp_path / "standard", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "sdk").symlink_to(own.parent / "sdk")
    package = tmp_path / "standard/torchvision/models"
    package.mkdir(parents=True)
    for empty in (package.parent / "__init__.py", package / "__init__.py"):
        empty.write_text("")
    (package / "detection.py").write_text(STAND_IN)
    return tmp_path / "standard"


SHORT = {"epochs": 2, "img_size": 64, "batch_size": 4}


@pytest.mark.long
def test_it_keeps_every_clause_that_it_claims(folder: Path) -> None:
    clauses = check_executor(
        open_executor(str(folder)),
        runner="process",
        config=SHORT,
        time_seconds=120,
        on_clause=lambda _: None,
    )

    assert {c.name: c.detail for c in clauses if c.state == "failed"} == {}
    claimed = {clause.name for clause in clauses if clause.state == "passed"}
    assert {"train-pretrained", "train-environment", "mine-and-infer"} <= claimed


def test_it_starts_from_a_file_of_weights(folder: Path, prepare, tmp_path: Path) -> None:
    weights = tmp_path / "coco.pth"
    torch.save({"body": torch.ones(3), "head": torch.zeros(91)}, weights)
    settings = {**SHORT, "weights_file": str(weights)}
    job = prepare(image=open_executor(str(folder)), config=settings)

    run_job(job)

    assert "started from coco.pth: 1 tensors" in job.log_path.read_text()
    trained = collect_training(job)
    assert [stage.name for stage in trained.stages] == ["epoch_1", "epoch_2"]
    result = yaml.safe_load((job.outputs / "models/result.yaml").read_text())
    assert result["environment"]["torch"] == torch.__version__


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        ({"weights_file": "/no/such.pth"}, 300001, "no file of weights"),
        pytest.param({"architecture": "own"}, 300001, "no architecture", marks=pytest.mark.long),
    ],
)
def test_wrong_settings_end_with_their_code(
    folder: Path, prepare, settings: dict[str, str], code: int, said: str
) -> None:
    job = prepare(image=open_executor(str(folder)), config={**SHORT, **settings})

    with pytest.raises(ExecutorFailedError) as caught:
        run_job(job)
    assert caught.value.executor_code == code
    assert said in str(caught.value)


def test_weights_that_would_run_code_are_refused(folder: Path, prepare, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (print, ("executed",))

    torch.save({"body": Evil()}, tmp_path / "evil.pth")
    settings = {**SHORT, "weights_file": str(tmp_path / "evil.pth")}
    job = prepare(image=open_executor(str(folder)), config=settings)

    with pytest.raises(ExecutorFailedError, match="are no weights"):
        run_job(job)
    assert "executed" not in job.log_path.read_text()


def test_real_network_is_fine_tuned(prepare) -> None:
    code = "import torchvision.models.detection"
    tried = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    if tried.returncode:
        pytest.skip(f"torchvision cannot be loaded: {tried.stderr.strip().splitlines()[-1]}")
    settings = {"epochs": 1, "img_size": 128, "batch_size": 2}
    job = prepare(image=open_executor("torchvision"), config=settings)

    run_job(job)

    assert [stage.name for stage in collect_training(job).stages] == ["epoch_1"]
