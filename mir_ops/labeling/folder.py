"""The folder backend: images and pre-annotations go out, files of any tool come back in `done/`.

<task>/images/<asset>.jpg        what to label
<task>/annotations/<asset>.xml   what the model sees: a start, to copy and correct (Pascal VOC)
<task>/annotations.xml           the same in one file that CVAT imports (CVAT for images 1.1)
<task>/done/<asset>.xml, .txt    the answer as VOC or YOLO; without objects it means: nothing there
<task>/done/<any>.json, .xml     answers for the images that it lists, as COCO or from CVAT
<task>/skipped/<asset>           not to be labelled; any file of that name, any ending
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.formats.cvat import write_cvat
from mir_ops.formats.parsed import ImageRow, ObjectRow
from mir_ops.formats.voc import VocFile, VocObject, object_row, write_voc
from mir_ops.labeling.backend import LabelProgress, LabelRequest, LabelResult
from mir_ops.labeling.folder_answers import read_done
from mir_ops.store.schema import ASSET_ID

_TASK: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,120}")
_ENDINGS: Final = {"image/jpeg": ".jpg", "image/png": ".png", "image/bmp": ".bmp"}
_README: Final = """\
{title}: {count} images to label.

Draw on the files of `images/` with any tool. `annotations/` holds what the model sees as Pascal
VOC, as a start, and `annotations.xml` the same for CVAT (CVAT for images 1.1). Put what you
finished into `done/`: `<name of the image>.xml` as Pascal VOC, `<name of the image>.txt` as YOLO
(its numbers count the lines of `classes.txt`), or files from COCO (.json) or CVAT (.xml), which
answer every image that they list. An image that is listed without objects has nothing to see. To
leave an image out, put a file of its name into `skipped/`. The round goes on when every image is
in one of both.

Classes: {classes}
{guide}"""


_OVER: Final = "This round is over: what comes into this folder now is not taken any more.\n"


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
        asked = _read_request(folder)
        names = {asset["name"] for asset in asked["assets"]}
        answers = read_done(folder / "done", sorted(names), list(asked["classes"].values()))
        refused = sorted(answers.refused)
        skipped = _skipped(folder, names - answers.found.keys())
        return LabelProgress(
            total=len(names),
            done=len(answers.found),
            skipped=len(skipped),
            last_activity=_last_change(folder / "done"),
            message=f"{len(refused)} files in `done` cannot be read: "
            + ", ".join(f"{name} ({answers.refused[name]})" for name in refused[:5])
            if refused
            else "",
        )

    def fetch(self, task_id: str, request: LabelRequest) -> LabelResult:
        folder = self._folder(task_id)
        assets = {row["asset_id"].hex(): row for row in request.assets.to_pylist()}
        answers = read_done(folder / "done", sorted(assets), list(request.classes.values()))
        annotations, issues = answers.table(assets, request.classes)
        skipped = _skipped(folder, assets.keys() - answers.found.keys())
        return LabelResult(
            annotations=annotations,
            done=_ids(sorted(answers.found)),
            skipped=_ids(sorted(skipped)),
            issues=issues,
        )

    def close(self, task_id: str) -> None:
        """Everything stays; a file says that it is over."""
        (self._folder(task_id) / "closed").write_text(_OVER)

    def _folder(self, task_id: str) -> Path:
        folder = self.path / task_id
        if _TASK.fullmatch(task_id) is None or not (folder / "request.json").is_file():
            raise NotFoundError(
                f"No label task `{task_id}` in `{self.path}`",
                code="no-such-label-task",
                hint="Restore the folder, or clear `create_label_task` to ask again",
            )
        return folder


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
    seen = _seen_by_asset(request)
    entries = []
    for asset in request.assets.sort_by("asset_id").to_pylist():
        name = asset["asset_id"].hex()
        image = f"{name}{_ENDINGS.get(asset['media_type'], '.img')}"
        request.fetch_image(name, folder / "images" / image)
        start = VocFile(
            filename=image,
            size=(asset["width"], asset["height"]),
            channels=asset["channels"],
            objects=tuple(box for box, _ in seen.get(asset["asset_id"], ())),
        )
        (folder / "annotations" / f"{name}.xml").write_bytes(write_voc(start))
        entries.append({"name": name})
    (folder / "annotations.xml").write_bytes(write_cvat(_for_cvat(request, seen)))
    _write_request(folder, request, entries)


def _write_request(folder: Path, request: LabelRequest, entries: list[dict[str, Any]]) -> None:
    names = list(request.classes.values())
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    guide = f"\nLabel guide:\n{request.guide}\n" if request.guide else ""
    text = _README.format(
        title=request.title, count=len(entries), classes=", ".join(names), guide=guide
    )
    (folder / "README.txt").write_text(text, encoding="utf-8")
    asked = {
        "key": request.key,
        "title": request.title,
        "classes": {str(id_): name for id_, name in request.classes.items()},
        "assets": entries,
    }
    (folder / "request.json").write_text(json.dumps(asked, sort_keys=True), encoding="utf-8")


def _for_cvat(
    request: LabelRequest, seen: Mapping[bytes, list[tuple[VocObject, dict[str, Any]]]]
) -> Iterator[tuple[ImageRow, list[ObjectRow]]]:
    for asset in request.assets.sort_by("asset_id").to_pylist():
        image = ImageRow(
            source="",
            file_name=f"{asset['asset_id'].hex()}{_ENDINGS.get(asset['media_type'], '.img')}",
            width=asset["width"],
            height=asset["height"],
        )
        yield (
            image,
            [
                object_row(0, box)._replace(**shape, rle_width=image.width, rle_height=image.height)
                for box, shape in seen.get(asset["asset_id"], ())
            ],
        )


def _seen_by_asset(request: LabelRequest) -> dict[bytes, list[tuple[VocObject, dict[str, Any]]]]:
    """What the model sees: each with its box, and with its polygon or mask where such are drawn."""
    known = pa.array(list(request.classes), pa.int32())
    table = request.predictions.filter(
        pc.is_in(request.predictions["class_id"], value_set=known)
    ).sort_by([("asset_id", "ascending"), ("confidence", "descending")])
    columns = ["asset_id", "class_id", "kind", "x", "y", "w", "h", "angle", "confidence"]
    shapes = ["polygon", "rle"]
    found: dict[bytes, list[tuple[VocObject, dict[str, Any]]]] = {}
    rows = table.select([*columns, *shapes]).to_pylist()  # as many as people are to label
    for row in rows:
        box = VocObject(
            name=request.classes[row["class_id"]],
            box=(row["x"], row["y"], row["w"], row["h"]),
            angle=row["angle"],
            confidence=row["confidence"],
        )
        drawn = row["kind"] in request.shapes
        shape = {name: row[name] for name in shapes} if drawn else {}
        found.setdefault(row["asset_id"], []).append((box, shape))
    return found


def _read_request(folder: Path) -> dict[str, Any]:
    asked: dict[str, Any] = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    return asked


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


def _ids(names: Iterable[str]) -> pa.Array:
    return pa.array([bytes.fromhex(name) for name in names], ASSET_ID)
