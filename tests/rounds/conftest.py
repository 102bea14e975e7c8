"""A small project for the tests of rounds."""

from __future__ import annotations

from pathlib import Path

import pytest
from round_data import House


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)
