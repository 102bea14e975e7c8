"""`mir doctor`: one line for each part of the machine, and what to do about it."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from mir_ops import doctor
from mir_ops.cli.main import main
from mir_ops.store import Store

# docker-py leaves a socket open that could not connect.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SMI = """#!/bin/sh
case "$1" in
  --query-gpu*) echo "NVIDIA H200, 550.54.15"; echo "NVIDIA H200, 550.54.15" ;;
  *) echo "| NVIDIA-SMI 550.54.15   Driver Version: 550.54.15   CUDA Version: 12.4 |" ;;
esac
"""
PARTS = (
    "driver",
    "engine",
    "container toolkit",
    "disk",
    "work folder",
    "shared memory",
    "label tool",
    "store",
)


@pytest.fixture
def without_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    pytest.importorskip("docker")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def examine(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    code = main(["doctor", "--json", *words])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return code, {line["part"]: line for line in lines}


def test_a_machine_without_gpu_and_engine_has_nothing_failed(
    without_engine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = examine(capsys, "--port", str(_free_port()))

    assert code == 0
    assert set(PARTS) < set(found)
    assert found["driver"]["health"] == "absent"
    assert found["engine"]["health"] == "warning"
    assert "DOCKER_HOST" in found["engine"]["advice"]
    assert all(line["advice"] for line in found.values() if line["health"] == "failed")


def test_a_gpu_without_the_toolkit_is_told(
    without_engine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    smi = without_engine / "bin" / "nvidia-smi"
    smi.parent.mkdir()
    smi.write_text(SMI)
    smi.chmod(0o755)

    code, found = examine(capsys)

    assert code == 1
    assert found["driver"]["found"] == "550.54.15, CUDA up to 12.4: 2 × NVIDIA H200"
    assert found["container toolkit"]["health"] == "failed"
    assert "nvidia-ctk" in found["container toolkit"]["advice"]


def test_store_label_tool_and_ports_are_tried(
    without_engine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = (without_engine / "store").as_uri()
    Store.open(url, create=True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        nobody = f"http://127.0.0.1:{_free_port()}"

        code, found = examine(capsys, "--store", url, "--label-tool", nobody, "--port", str(port))

    assert code == 1
    assert found["store"]["health"] == "ok"
    assert found["label tool"]["health"] == "failed"
    assert found[f"port {port}"]["health"] == "warning"


@pytest.mark.parametrize(
    ("environment", "cuda"),
    [
        (["CUDA_VERSION=12.4.1"], (12, 4)),
        (["NVIDIA_REQUIRE_CUDA=cuda>=11.8 brand=tesla", "CUDA_VERSION=12.1"], (11, 8)),
        (["PATH=/usr/bin"], None),
    ],
)
def test_an_images_cuda_is_read_from_its_variables(
    environment: list[str], cuda: tuple[int, int] | None
) -> None:
    assert doctor.cuda_of(environment) == cuda


@pytest.mark.docker
def test_an_image_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = examine(capsys, "--image", "mir-ops/nothing:1")

    if found["engine"]["health"] != "ok":
        pytest.skip("no Docker engine")
    assert code == 1
    assert found["image mir-ops/nothing:1"]["found"] == "not in the engine"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
