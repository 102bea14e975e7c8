"""Labelling: the oracle and the folder behind one interface; other tools join them here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mir_ops.errors import InvalidInputError
from mir_ops.labeling.backend import LabelBackend, LabelProgress, LabelRequest, LabelResult

__all__ = ["LabelBackend", "LabelProgress", "LabelRequest", "LabelResult", "open_backend"]


def open_backend(kind: str, *, options: Mapping[str, Any]) -> LabelBackend:
    """The label tool of this kind. Its options come from a connection that label tasks read."""
    if kind == "oracle":
        from mir_ops.labeling.oracle import open_oracle

        return open_oracle(options)
    if kind == "folder":
        from mir_ops.labeling.folder import open_folder

        return open_folder(options)
    raise InvalidInputError(
        f"No label backend named `{kind}`",
        code="unknown-label-backend",
        hint="Use `oracle` or `folder`",
    )
