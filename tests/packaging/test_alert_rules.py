"""Prometheus's own checks of its settings: alerts fire when they should."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.docker, pytest.mark.long]

ROOT = Path(__file__).parents[2]
IMAGE = "mir-ops/prometheus:0.1.0"


@pytest.fixture(scope="module")
def promtool(engine: Any, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Debian's, in the image of the stack's Prometheus, on a folder with rules and settings."""
    if not engine.images.list(IMAGE):
        pytest.skip(f"No image {IMAGE}: run `make stack-images`")
    folder = tmp_path_factory.mktemp("mir")
    folder.chmod(0o755)
    for file in (ROOT / "docker" / "metrics").glob("*.yml"):
        shutil.copy(file, folder)
    shutil.copy(Path(__file__).with_name("alerts.yml"), folder)
    mount = ["--volume", f"{folder}:/etc/mir:ro", "--workdir", "/etc/mir"]
    return ["docker", "run", "--rm", "--network=none", *mount, "--entrypoint", "promtool", IMAGE]


@pytest.mark.parametrize("check", ["check config prometheus.yml", "test rules alerts.yml"])
def test_prometheus_accepts(promtool: list[str], check: str) -> None:
    done = subprocess.run([*promtool, *check.split()], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout
