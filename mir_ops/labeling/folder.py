"""The folder backend: images and pre-annotations go out, Pascal VOC files come back in `done/`.

<task>/images/<asset>.jpg        what to label
<task>/annotations/<asset>.xml   what the model sees: a start, to copy and correct
<task>/done/<asset>.xml          the answer; without objects it means: nothing there
<task>/skipped/<asset>           not to be labelled; any file of that name, any ending
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.dataset.annotations import ImageFrames, annotation_table
from mir_ops.dataset.report import Tally
from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.formats.parsed import Collected, RefusedError
from mir_ops.formats.voc import MAX_BYTES, VocFile, VocObject, object_row, read_voc, write_voc
from mir_ops.labeling.backend import LabelProgress, LabelRequest, LabelResult
from mir_ops.store.schema import ASSET_ID, GROUND_TRUTH

_TASK: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,120}")
_ENDINGS: Final = {"image/jpeg": ".jpg", "image/png": ".png", "image/bmp": ".bmp"}
_README: Final = """\
{title}: {count} images to label.

Draw boxes on the files of `images/` with any tool that writes Pascal VOC. `annotations/` holds what
the model sees, as a start. Save each finished file into `done/`, under the name of its image:
`done/<name>.xml`. A file without objects means that there is nothing to see. To leave an image
out, put a file of its name into `skipped/`. The round goes on when every image is in one of both.

Classes: {classes}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderBackend:
    """Tasks are folders below `path`, which people and this machine both see."""

    path: Path

    @property
    def kind(self) -> str:
        return "folder"

    def create(self, request: LabelRequest) -> str:
        title = re.sub(r"[^a-z0-9]+", "-", request.title.lower()).strip("-")[:60]
        task_id = f"{title or 'task'}-{request.key[:12]}"
        folder = self.path / task_id
        if not folder.exists():
            partial = self.path / f".{task_id}.{os.getpid()}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            _write_task(partial, request)
            try:
                partial.rename(folder)
            except OSError:  # another try of this request was faster
                shutil.rmtree(partial, ignore_errors=True)
                self._folder(task_id)
        return task_id

    def progress(self, task_id: str) -> LabelProgress:
        folder = self._folder(task_id)
        names = {asset["name"] for asset in _read_request(folder)["assets"]}
        answers = _answers(folder, names)
        refused = sorted(name for name, found in answers.items() if isinstance(found, str))
        skipped = _skipped(folder, names - answers.keys())
        return LabelProgress(
            total=len(names),
            done=len(answers) - len(refused),
            skipped=len(skipped),
            last_activity=_last_change(folder / "done"),
            message=f"{len(refused)} files in `done` cannot be read: "
            + ", ".join(f"{name}.xml ({answers[name]})" for name in refused[:5])
            if refused
            else "",
        )

    def fetch(self, task_id: str, request: LabelRequest) -> LabelResult:
        folder = self._folder(task_id)
        assets = {row["asset_id"].hex(): row for row in request.assets.to_pylist()}
        answers = _answers(folder, assets.keys())
        read = {name: found for name, found in answers.items() if isinstance(found, VocFile)}
        tally = _Issues()
        for found in answers.values():
            if isinstance(found, str):
                tally.add(found)
        annotations = _annotations(read, assets, request.classes, tally)
        skipped = _skipped(folder, assets.keys() - answers.keys())
        return LabelResult(
            annotations=annotations,
            done=_ids(sorted(read)),
            skipped=_ids(sorted(skipped)),
            issues=tally.counts,
        )

    def close(self, task_id: str) -> None:
        (self._folder(task_id) / "closed").touch()

    def _folder(self, task_id: str) -> Path:
        folder = self.path / task_id
        if _TASK.fullmatch(task_id) is None or not (folder / "request.json").is_file():
            raise NotFoundError(
                f"No label task `{task_id}` in `{self.path}`",
                code="no-such-label-task",
                hint="Restore the folder, or clear `create_label_task` to ask again",
            )
        return folder


class _Issues:
    """What was not taken, and how often."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def add(self, code: str, count: int = 1) -> None:
        self.counts[code] = self.counts.get(code, 0) + count


def open_folder(options: Mapping[str, Any]) -> FolderBackend:
    unknown = set(options) - {"path"}
    path = Path(str(options.get("path") or ""))
    if unknown or not path.is_absolute():
        raise InvalidInputError(
            "The folder backend takes one option, `path`, an absolute path",
            code="invalid-label-options",
            hint="Name a folder that the people who label can open",
        )
    path.mkdir(parents=True, exist_ok=True)
    return FolderBackend(path=path)


def _write_task(folder: Path, request: LabelRequest) -> None:
    for name in ("images", "annotations", "done", "skipped"):
        (folder / name).mkdir(parents=True)
    boxes = _boxes_by_asset(request)
    entries = []
    for asset in request.assets.sort_by("asset_id").to_pylist():
        name = asset["asset_id"].hex()
        image = f"{name}{_ENDINGS.get(asset['media_type'], '.img')}"
        request.fetch_image(name, folder / "images" / image)
        start = VocFile(
            filename=image,
            size=(asset["width"], asset["height"]),
            channels=asset["channels"],
            objects=tuple(boxes.get(asset["asset_id"], ())),
        )
        (folder / "annotations" / f"{name}.xml").write_bytes(write_voc(start))
        entries.append({"name": name})
    _write_request(folder, request, entries)


def _write_request(folder: Path, request: LabelRequest, entries: list[dict[str, Any]]) -> None:
    names = list(request.classes.values())
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    text = _README.format(title=request.title, count=len(entries), classes=", ".join(names))
    (folder / "README.txt").write_text(text, encoding="utf-8")
    asked = {
        "key": request.key,
        "title": request.title,
        "classes": {str(id_): name for id_, name in request.classes.items()},
        "assets": entries,
    }
    (folder / "request.json").write_text(json.dumps(asked, sort_keys=True), encoding="utf-8")


def _boxes_by_asset(request: LabelRequest) -> dict[bytes, list[VocObject]]:
    known = pa.array(list(request.classes), pa.int32())
    table = request.predictions.filter(
        pc.is_in(request.predictions["class_id"], value_set=known)
    ).sort_by([("asset_id", "ascending"), ("confidence", "descending")])
    columns = ["asset_id", "class_id", "x", "y", "w", "h", "angle", "confidence"]
    found: dict[bytes, list[VocObject]] = {}
    for row in table.select(columns).to_pylist():  # as many as the budget lets people label
        box = VocObject(
            name=request.classes[row["class_id"]],
            box=(row["x"], row["y"], row["w"], row["h"]),
            angle=row["angle"],
            confidence=row["confidence"],
        )
        found.setdefault(row["asset_id"], []).append(box)
    return found


def _read_request(folder: Path) -> dict[str, Any]:
    asked: dict[str, Any] = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    return asked


def _answers(folder: Path, names: Iterable[str]) -> dict[str, VocFile | str]:
    """Each answered image: its file, or why that cannot be read. Other files are not ours."""
    found: dict[str, VocFile | str] = {}
    for name in names:
        data = _read_file(folder / "done" / f"{name}.xml")
        if data is None:
            continue
        try:
            found[name] = read_voc(data)
        except RefusedError as error:
            found[name] = error.code
    return found


def _read_file(path: Path) -> bytes | None:
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


def _skipped(folder: Path, names: Iterable[str]) -> set[str]:
    try:
        return {Path(entry.name).stem for entry in os.scandir(folder / "skipped")} & set(names)
    except FileNotFoundError:
        return set()


def _last_change(folder: Path) -> datetime | None:
    try:
        times = [entry.stat(follow_symlinks=False).st_mtime for entry in os.scandir(folder)]
    except FileNotFoundError:
        return None
    return datetime.fromtimestamp(max(times), UTC) if times else None


def _annotations(
    read: Mapping[str, VocFile],
    assets: Mapping[str, Mapping[str, Any]],
    classes: Mapping[int, str],
    issues: _Issues,
) -> pa.Table:
    ids = {name.lower(): id_ for id_, name in classes.items()}
    names, objects = sorted(read), Collected()
    class_ids: list[int] = []
    for position, name in enumerate(names):
        for entry in read[name].objects:
            class_id = ids.get(entry.name.strip().lower())
            if class_id is None:
                issues.add("class-unknown")
            elif entry.box is None:
                issues.add("object-without-box")
            else:
                objects.add_objects([object_row(position, entry)])
                class_ids.append(class_id)
    tally = Tally()
    frames = ImageFrames(
        asset_ids=[bytes.fromhex(name) for name in names],
        widths=[assets[name]["width"] for name in names],
        heights=[assets[name]["height"] for name in names],
        turns=[_turn(read[name], assets[name]) for name in names],
        sources=[f"{name}.xml" for name in names],
    )
    table = annotation_table(
        objects.parsed().objects, np.asarray(class_ids, np.int32), frames, tally
    )
    for issue in tally.report({}).issues:
        issues.add(issue.code, issue.count)
    annotator = pa.array(["folder"] * table.num_rows, pa.string())
    position = GROUND_TRUTH.get_field_index("annotator")
    return table.set_column(position, GROUND_TRUTH.field("annotator"), annotator)


def _turn(file: VocFile, asset: Mapping[str, Any]) -> int:
    """A tool that ignores EXIF labelled the image before it is turned: its size says so."""
    displayed = (asset["width"], asset["height"])
    turned = file.size == displayed[::-1] and file.size != displayed
    return int(asset["orientation"]) if turned and asset["orientation"] >= 5 else 1


def _ids(names: Iterable[str]) -> pa.Array:
    return pa.array([bytes.fromhex(name) for name in names], ASSET_ID)
