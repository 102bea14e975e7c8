"""Arrow without pandas: at its first conversion Arrow imports pandas, a quarter of a second."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final


class _NoPandas:
    """A finder that finds no pandas."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: object = None) -> None:  # noqa: ARG002
        if name == "pandas":
            raise ImportError(name)


_FINDER: Final = _NoPandas()


def spare_pandas() -> None:
    """Let Arrow ask for pandas now, and find none.

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
