"""Arrow and numpy as a command needs them: most of what they do when they start is for others."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Final

_SETTINGS: Final = {
    "OPENBLAS_NUM_THREADS": "1",  # no threads that wait for matrices
    # Others take huge pages, which the kernel must find and clear: longer than a command works.
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
_DOCS: Final = "pyarrow.vendored.docscrape"


class _NoPandas:
    """A finder that finds no pandas."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: object = None) -> None:  # noqa: ARG002
        if name == "pandas":
            raise ImportError(name)


_FINDER: Final = _NoPandas()


def load_rows() -> None:
    """Load what rows are read and written with, in two thirds of the time.

    For commands that multiply no matrices. Arrow's functions get no docs of their options.
    """
    with _environment(_SETTINGS):
        import numpy  # noqa: F401

        _load_compute()
        spare_pandas()


def spare_pandas() -> None:
    """Let Arrow ask for pandas now, a quarter of a second, and find none.

    It asks again where it cannot do without, as in `Table.to_pandas`, and then finds it.
    """
    import pyarrow as pa

    if "pandas" in sys.modules:
        return
    sys.meta_path.insert(0, _FINDER)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(_FINDER)


def _load_compute() -> None:
    """Arrow would parse the docs of a hundred classes, to write those of its functions."""
    if "pyarrow.compute" in sys.modules:
        return
    empty = ModuleType(_DOCS)
    empty.NumpyDocString = _no_docs  # type: ignore[attr-defined]
    sys.modules[_DOCS] = empty
    try:
        import pyarrow.compute  # noqa: F401
    finally:
        del sys.modules[_DOCS]


def _no_docs(text: str) -> dict[str, list[str]]:  # noqa: ARG001 - as what it stands for
    return {"Parameters": []}


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    """These settings while libraries load, where nobody chose others; children see none of them."""
    ours = {name: value for name, value in settings.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]
