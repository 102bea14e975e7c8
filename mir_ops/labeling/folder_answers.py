"""What lies in the folder `done` of a label task: files of any of four formats, as columns."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.dataset.annotations import ImageFrames, annotation_table
from mir_ops.dataset.report import Tally
from mir_ops.errors import InvalidInputError
from mir_ops.formats.coco import parse_coco
from mir_ops.formats.cvat import MAX_BYTES, is_cvat, parse_cvat
from mir_ops.formats.parsed import Parsed, joined
from mir_ops.formats.voc import parse_voc
from mir_ops.formats.yolo import parse_yolo
from mir_ops.store.schema import GROUND_TRUTH

_ASSET: Final = re.compile(r"[0-9a-f]{64}")
_MOST_FILES: Final = 1_000_000
_CLASSES: Final = "classes.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Each answered image: the file that says so, and its row there. And what was refused."""

    found: Mapping[str, tuple[Parsed, int]]  # asset id in hex: file and row of its images
    refused: Mapping[str, str]  # file name: code
    issues: Mapping[str, int] = field(default_factory=dict)

    def table(
        self, assets: Mapping[str, Mapping[str, Any]], classes: Mapping[int, str]
    ) -> tuple[pa.Table, dict[str, int]]:
        """The annotations of the answered images, and what was not taken of them, and how often."""
        ids = {name.strip().lower(): id_ for id_, name in classes.items()}
        issues, tables = dict(self.issues), [GROUND_TRUTH.empty_table()]
        for relative in (False, True):
            parsed, rows = self._joined(relative=relative)
            tables.append(_annotations(parsed, rows, assets, ids, issues))
        table = pa.concat_tables(tables)
        at, annotator = GROUND_TRUTH.get_field_index("annotator"), GROUND_TRUTH.field("annotator")
        who = pa.array(["folder"] * table.num_rows, pa.string())
        return table.set_column(at, annotator, who), issues

    def _joined(self, *, relative: bool) -> tuple[Parsed, dict[str, int]]:
        """The files that state places as shares of the image, or those in pixels, as one."""
        files = {id(of): of for of, _ in self.found.values() if of.relative == relative}
        starts, end = {}, 0
        for key, parsed in files.items():
            starts[key], end = end, end + parsed.images.num_rows
        rows = {
            name: starts[id(of)] + row for name, (of, row) in self.found.items() if id(of) in starts
        }
        return joined(list(files.values())), rows


def read_done(folder: Path, names: Sequence[str], classes: Sequence[str]) -> Answers:
    """The answers for these assets (ids in hex) in the folder; of two files the newer one counts.

    A file of one image is named as the image. COCO and CVAT files have any name, and speak of the
    images whose names they state. `classes` are what YOLO's numbers mean where no file says.
    """
    wanted, found = set(names), {}
    refused: dict[str, str] = {}
    issues: dict[str, int] = {}
    explained = read_file(folder / _CLASSES)
    numbers = explained or "\n".join(classes).encode()
    for name, data in _files(folder, wanted):
        parsed = _parse(name, data, numbers)
        if isinstance(parsed, str):
            refused[name] = parsed
            issues[parsed] = issues.get(parsed, 0) + 1
            continue
        for finding in parsed.findings:
            issues[finding.code] = issues.get(finding.code, 0) + finding.count
        for row, asset in _images(name, parsed):
            if asset in wanted:
                found[asset] = (parsed, row)
    return Answers(found=found, refused=refused, issues=issues)


def read_file(path: Path) -> bytes | None:
    """The bytes of a plain file; a link could lead anywhere, a pipe would never end."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_BYTES + 1)
    finally:
        os.close(descriptor)


def _files(folder: Path, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """Files that may answer, the oldest first."""
    try:
        entries = [entry for entry, _ in zip(os.scandir(folder), range(_MOST_FILES), strict=False)]
    except FileNotFoundError:
        return
    timed = sorted((entry.stat(follow_symlinks=False).st_mtime_ns, entry.name) for entry in entries)
    for _, name in timed:
        stem, ending = os.path.splitext(name)
        of_asset = _ASSET.fullmatch(stem) is not None
        if ending not in (".xml", ".txt", ".json") or (of_asset and stem not in wanted):
            continue
        if ending == ".txt" and not of_asset:
            continue
        if (data := read_file(folder / name)) is not None:
            yield name, data


def _parse(name: str, data: bytes, numbers: bytes) -> Parsed | str:
    """The file's columns, or why it cannot be read."""
    files = [(name, data)]
    try:
        if name.endswith(".json"):
            parsed = parse_coco(files)
        elif name.endswith(".txt"):
            parsed = parse_yolo(files, [(_CLASSES, numbers)])
        else:
            parsed = parse_cvat(files) if is_cvat(data) else parse_voc(files)
    except InvalidInputError as error:
        return error.code
    if parsed.images.num_rows == 0:
        return parsed.findings[0].code if parsed.findings else "annotation-without-images"
    return parsed


def _images(file: str, parsed: Parsed) -> Iterator[tuple[int, str]]:
    """Rows of a file's images, each with the asset that it is about."""
    stem = os.path.splitext(file)[0]
    if _ASSET.fullmatch(stem) and parsed.images.num_rows == 1:
        yield 0, stem
        return
    for row, stated in enumerate(parsed.images["file_name"].to_pylist()):
        yield row, PurePosixPath(stated).stem


def _annotations(
    parsed: Parsed,
    rows: Mapping[str, int],
    assets: Mapping[str, Mapping[str, Any]],
    ids: Mapping[str, int],
    issues: dict[str, int],
) -> pa.Table:
    names = sorted(rows)
    place = np.full(parsed.images.num_rows, -1, np.int64)
    place[[rows[name] for name in names]] = np.arange(len(names))
    objects = parsed.objects
    objects = objects.set_column(
        0, objects.schema.field(0), pa.array(place[objects["image"].to_numpy()])
    )
    objects = objects.filter(pc.greater_equal(objects["image"], 0))
    class_ids = np.asarray(
        [ids.get(name.strip().lower(), -1) for name in objects["class_name"].to_pylist()], np.int64
    )
    if strange := int((class_ids < 0).sum()):
        issues["class-unknown"] = issues.get("class-unknown", 0) + strange
    objects = objects.filter(pa.array(class_ids >= 0))
    frames = _frames(parsed, rows, names, assets)
    tally = Tally()
    known = class_ids[class_ids >= 0].astype(np.int32)
    table = annotation_table(objects, known, frames, tally, relative=parsed.relative)
    for issue in tally.report({}).issues:
        issues[issue.code] = issues.get(issue.code, 0) + issue.count
    return table


def _frames(
    parsed: Parsed,
    rows: Mapping[str, int],
    names: list[str],
    assets: Mapping[str, Mapping[str, Any]],
) -> ImageFrames:
    stated = parsed.images.select(["width", "height"]).to_pylist()
    sizes = {name: (stated[rows[name]]["width"], stated[rows[name]]["height"]) for name in names}
    return ImageFrames(
        asset_ids=[bytes.fromhex(name) for name in names],
        widths=[assets[name]["width"] for name in names],
        heights=[assets[name]["height"] for name in names],
        turns=[_turn(sizes[name], assets[name]) for name in names],
        sources=names,
    )


def _turn(stated: tuple[int | None, int | None], asset: Mapping[str, Any]) -> int:
    """A tool that ignores EXIF labelled the image before it is turned: its size says so."""
    displayed = (asset["width"], asset["height"])
    turned = stated == displayed[::-1] and stated != displayed
    return int(asset["orientation"]) if turned and asset["orientation"] >= 5 else 1
