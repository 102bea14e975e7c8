"""The stack that tests of this folder share; see `production_stack`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from production_stack import Stack, running, skip_without


@pytest.fixture(scope="session")
def stack(
    engine: Any, sample_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """A stack that runs; without engine, docker-compose or images the test is skipped."""
    skip_without(engine)
    with running(tmp_path_factory.mktemp("stack"), engine=engine) as started:
        yield started
