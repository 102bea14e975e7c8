from __future__ import annotations

from pathlib import Path

import pytest
from console_data import Shown, write_shown


@pytest.fixture
def shown(tmp_path: Path) -> Shown:
    return write_shown(tmp_path)
