from __future__ import annotations

from pathlib import Path

import pytest

from mir_ops.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store that knows the classes `cat` and `dog`."""
    store = Store.open((tmp_path / "store").as_uri(), create=True)
    store.register_classes(["cat", "dog"])
    return store
