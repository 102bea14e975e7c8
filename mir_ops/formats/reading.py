"""Read the annotation files of a source, whatever their format, to one `Parsed`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from mir_ops.formats import FORMATS, FormatName
from mir_ops.formats.parsed import EMPTY, Finding, Parsed
from mir_ops.formats.trees import DamagedEntryError

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
    damaged: list[Finding] = []
    parsed = _parse(format_name, names, _Files(names, read, damaged), like, boxes_only)
    findings = (*damaged, *parsed.findings)
    return replace(parsed, boxes_only=boxes_only, findings=findings)


class _Files:
    """Names and bytes of the files that can be read."""

    def __init__(self, names: Sequence[str], read: Read, damaged: list[Finding]) -> None:
        self._names, self._read, self._damaged = names, read, damaged

    def of(self, names: Sequence[str]) -> _Files:
        return _Files(names, self._read, self._damaged)

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        for name in self._names:
            try:
                data = self._read(name)
            except DamagedEntryError:
                self._damaged.append(Finding(code="entry-damaged", example=name))
                continue
            yield name, data


def _parse(
    format_name: FormatName,
    names: Sequence[str],
    files: _Files,
    like: Parsed | None,
    boxes_only: bool,
) -> Parsed:
    if format_name == "coco":
        from mir_ops.formats.coco import parse_coco

        return parse_coco(files, like=like)
    if format_name == "yolo":
        from mir_ops.formats.yolo import is_class_file, parse_yolo

        return parse_yolo(
            files.of([name for name in names if not is_class_file(name)]),
            files.of([name for name in names if is_class_file(name)]),
        )
    from mir_ops.formats.voc import parse_voc
    from mir_ops.formats.voc_masks import with_masks, without_masks

    is_xml = FORMATS["voc"].suffix
    parsed = parse_voc(files.of([name for name in names if name.lower().endswith(is_xml)]))
    masks = [name for name in names if not name.lower().endswith(is_xml)]
    return without_masks(parsed) if boxes_only else with_masks(parsed, files.of(masks))
