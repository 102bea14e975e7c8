from __future__ import annotations

import pytest
from console_data import Shown, write_shown


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """Nothing in this room writes to it."""
    return write_shown(tmp_path_factory.mktemp("shown"))
