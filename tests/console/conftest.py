from __future__ import annotations

from collections.abc import Iterator

import pytest
from airflow_server import Guarded, serve_guarded
from browser_tab import Tab, open_tab
from console_data import Shown, write_shown


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """Nothing in this room writes to it."""
    return write_shown(tmp_path_factory.mktemp("shown"))


@pytest.fixture(scope="session")
def guarded(shown: Shown, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with serve_guarded(shown, tmp_path_factory.mktemp("guarded")) as running:
        yield running


@pytest.fixture
def tab() -> Iterator[Tab]:
    with open_tab() as opened:
        yield opened
