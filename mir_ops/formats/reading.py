"""Read the annotation files of a source, whatever their format, to one `Parsed`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mir_ops.formats import FormatName
from mir_ops.formats.parsed import EMPTY, Parsed

Read = Callable[[str], bytes]


def read_annotations(
    format_name: FormatName,
    names: Sequence[str],
    read: Read,
    *,
    boxes_only: bool = False,
    like: Parsed | None = None,
) -> Parsed:
    """Read files `names`, companions among them, with `read`, which may raise `DamagedEntryError`.

    What cannot be read is among the findings. `boxes_only` leaves polygons and masks out. `like`
    explains the ids of a file that has none of its own, as COCO's list of results.
    """
    if format_name == "none":
        return EMPTY
    raise NotImplementedError(format_name, names, read, boxes_only, like)
