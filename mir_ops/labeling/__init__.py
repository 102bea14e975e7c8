"""Labelling: Label Studio, a folder and the oracle behind one interface; other packages add more.

A package that has an entry point `name = "module:function"` in the group `mir_ops.label_backends`
adds the backend `name`: the function takes the connection's options and returns the backend.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any, Final

from mir_ops.errors import InvalidInputError
from mir_ops.labeling.backend import (
    FindAddresses,
    ImageAddresses,
    LabelBackend,
    LabelProgress,
    LabelRequest,
    LabelResult,
    ShowsImages,
)

__all__ = [
    "FindAddresses",
    "ImageAddresses",
    "LabelBackend",
    "LabelProgress",
    "LabelRequest",
    "LabelResult",
    "ShowsImages",
    "open_backend",
]


_OPTIONS: Final = {
    "oracle": {"store_url", "rev", "access_key", "secret_key"},
    "folder": {"path"},
    "label-studio": {"url", "browser_url", "access_key", "secret_key"},
}


def open_backend(kind: str, *, options: Mapping[str, Any]) -> LabelBackend:
    """The label tool of this kind. Its options come from a connection that label tasks read.

    One connection may hold what several of our tools need: each takes its own.
    """
    if kind in _OPTIONS:
        others = set().union(*_OPTIONS.values()) - _OPTIONS[kind]
        options = {name: value for name, value in options.items() if name not in others}
    if kind == "oracle":
        from mir_ops.labeling.oracle import open_oracle

        return open_oracle(options)
    if kind == "folder":
        from mir_ops.labeling.folder import open_folder

        return open_folder(options)
    if kind == "label-studio":
        from mir_ops.labeling.label_studio import open_label_studio

        return open_label_studio(options)
    from mir_ops.catalog.projects import ADDED_BACKENDS

    for found in entry_points(group=ADDED_BACKENDS, name=kind):
        backend: LabelBackend = found.load()(options)
        return backend
    raise InvalidInputError(
        f"No label backend named `{kind}`",
        code="unknown-label-backend",
        hint="Use `label-studio`, `folder` or `oracle`, or install the package that adds it",
    )
