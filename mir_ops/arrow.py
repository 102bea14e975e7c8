"""Arrow and numpy as a command needs them: most of what they do when they start is for others."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

_SETTINGS: Final = {
    "OPENBLAS_NUM_THREADS": "1",  # no threads that wait for matrices
    # Others take huge pages, which the kernel must find and clear: longer than a command works.
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
# Arrow asks for these, and does without; what needs one asks again and finds it.
_PANDAS: Final = "pandas"
_OPTIONAL: Final = (_PANDAS, "dateutil", "cloudpickle")


def load_rows() -> None:
    """Load what rows are read and written with, in half the time.

    For commands that multiply no matrices.
    """
    with _environment(_SETTINGS), _without(_OPTIONAL):
        import pyarrow.compute  # noqa: F401

        _let_arrow_ask()


def spare_pandas() -> None:
    """Let Arrow ask for pandas now, a quarter of a second, and find none.

    It asks again where it cannot do without, as in `Table.to_pandas`, and then finds it.
    """
    with _without([_PANDAS]):
        _let_arrow_ask()


def _let_arrow_ask() -> None:
    import pyarrow as pa

    pa.array([0])


class _Finder:
    """Finds none of some packages."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def find_spec(self, name: str, path: Sequence[str] | None, target: object = None) -> None:  # noqa: ARG002
        if name in self._names:
            raise ImportError(name)


@contextmanager
def _without(names: Sequence[str]) -> Iterator[None]:
    finder = _Finder(names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


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
