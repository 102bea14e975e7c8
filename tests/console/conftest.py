from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from airflow_server import Guarded, serve_fab, serve_guarded
from browser_tab import Tab, open_tab
from console_data import Shown, write_shown
from images_data import Street, write_street
from PIL import Image

from mir_ops.catalog import Catalog

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """Nothing in this room writes to it."""
    return write_shown(tmp_path_factory.mktemp("shown"))


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Street:
    """Images to filter. Nothing in this room writes to it."""
    return write_street(tmp_path_factory.mktemp("street"))


@pytest.fixture(scope="session")
def made_catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a catalog that has nothing in it; making one takes longer than copying it."""
    path = tmp_path_factory.mktemp("catalog") / "catalog.db"
    Catalog.open(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def empty_catalog(made_catalog: Path, tmp_path: Path) -> str:
    """The address of a catalog of the test's own."""
    path = Path(shutil.copy(made_catalog, tmp_path / "catalog.db"))
    return f"sqlite:///{path}"


@pytest.fixture(scope="session")
def guarded(shown: Shown, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with serve_guarded(shown, tmp_path_factory.mktemp("guarded")) as running:
        yield running


@pytest.fixture(scope="session")
def fab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """The same with FAB, on a store of its own; tests here may write to it."""
    home = tmp_path_factory.mktemp("fab")
    with serve_fab(write_shown(home / "shown"), home) as running:
        yield running


@pytest.fixture
def tab() -> Iterator[Tab]:
    with open_tab() as opened:
        yield opened


@pytest.fixture
def picture(tab: Tab, pytestconfig: pytest.Config) -> Callable[[str], None]:
    """With `--pictures`, what `tab` shows now becomes a picture of the documentation."""

    def take(name: str) -> None:
        if pytestconfig.getoption("--pictures"):
            shot = Image.open(io.BytesIO(tab.page.screenshot())).convert("RGB")
            PICTURES.mkdir(exist_ok=True)
            shot.quantize(128).save(PICTURES / f"{name}.png", optimize=True)

    return take
