"""A model looks at pictures that are in no dataset: what `mir models verify` shows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.executor.cache import AssetCache
from mir_ops.executor.inference import InferenceReport, collect_inference
from mir_ops.executor.inputs import prepare_inference
from mir_ops.executor.jobs import ExecutorImage
from mir_ops.executor.outputs import remove_job
from mir_ops.executor.reaping import throwaway_labels

if TYPE_CHECKING:
    from mir_ops.executor.jobs import Job
    from mir_ops.executor.models import ChosenModel
    from mir_ops.executor.tasks import Desk
    from mir_ops.store import Store, Version

_COLOURS: Final = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#9a6324")
_BRANCH: Final = "pictures"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a model found, by the name of the picture: as `infer-result.json` has it."""

    pictures: Mapping[str, list[dict[str, Any]]]
    report: InferenceReport

    def write(self, path: Path) -> None:
        """Write `infer-result.json`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"detection": {name: {"boxes": found} for name, found in self.pictures.items()}}
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A look of a model at one picture, or at those that an index lists, in two halves.

    `folder` is the look's own: it holds the pictures as a store, and may go when it is over.
    """

    desk: Desk
    image: ExecutorImage
    model: ChosenModel
    config: Mapping[str, Any]
    op_id: str
    folder: Path
    index_file: Path | None = None
    picture: Path | None = None

    def prepare(self) -> Job:
        desk, store = self.desk, self._store()
        version = self._version(store)
        package = self.folder / "model.tar.gz"
        if not package.is_file():
            desk.ws.store.fetch_blob(self.model.package.package, package)
        return prepare_inference(
            store,
            version,
            op_id=self.op_id,
            image=self.image,
            asset_ids=version.asset_ids(),
            model=replace(self.model.files(), package=package),
            config=self.config,
            jobs_dir=desk.jobs_dir,
            cache=AssetCache(self.folder / "cache"),
            limits=desk.limits,
            labels=desk.labels,
        )

    def collect(self, job: Job) -> Found:
        names = self.model.package.classes
        result = collect_inference(job, {name: number for number, name in enumerate(names)})
        version = self._store().branch(_BRANCH).read()
        return Found(
            pictures=_by_picture(version, result.predictions.to_pylist(), names),
            report=result.report,
        )

    def _store(self) -> Store:
        from mir_ops.store import Store

        return Store.open((self.folder / "store").as_uri(), create=True)

    def _version(self, store: Store) -> Version:
        """The pictures as a version of a store of their own."""
        from mir_ops.dataset import import_dataset

        source = self.index_file or _folder_of(self.picture, self.folder)
        commit = import_dataset(
            store, source, _BRANCH, op_id="pictures", annotations="none",
            index_file=self.index_file,
        ).commit  # fmt: skip
        version = store.read(commit)
        if not version.stats.assets:
            raise InvalidInputError(
                f"No picture in `{self.picture or self.index_file}` can be read",
                code="not-a-picture",
                hint="Give a JPEG, PNG or BMP file",
            )
        return version


def predict_on_files(
    desk: Desk,
    image: ExecutorImage,
    model: ChosenModel,
    config: Mapping[str, Any],
    *,
    index_file: Path | None = None,
    picture: Path | None = None,
) -> Found:
    """Run the model's executor on one picture, or on those that an index lists."""
    desk.jobs_dir.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=desk.jobs_dir, prefix="pictures-") as name:
        look = Look(
            desk=replace(desk, labels={**desk.labels, **throwaway_labels()}),
            image=image,
            model=model,
            config=config,
            op_id=sha256(name.encode()).hexdigest(),
            folder=Path(name),
            index_file=index_file,
            picture=picture,
        )
        job = look.prepare()
        try:
            desk.run(job)
            return look.collect(job)
        finally:
            remove_job(job)


def draw_boxes(picture: Path, boxes: list[dict[str, Any]], target: Path) -> None:
    """The picture, upright, with the boxes and what they are; confident ones are drawn last."""
    from PIL import Image, ImageDraw, ImageOps

    with Image.open(picture) as image:
        ImageOps.exif_transpose(image, in_place=True)
        canvas = image.convert("RGB")
    draw = ImageDraw.Draw(canvas)
    names = sorted({str(box["class_name"]) for box in boxes})
    width = max(1, round(max(canvas.size) / 400))
    for box in sorted(boxes, key=lambda box: float(box["score"])):
        x, y, w, h = (float(box["box"][side]) for side in "xywh")
        colour = _COLOURS[names.index(str(box["class_name"])) % len(_COLOURS)]
        draw.rectangle((x, y, max(x + w - 1, x), max(y + h - 1, y)), outline=colour, width=width)
        text = f"{box['class_name']} {float(box['score']):.2f}"
        place = draw.textbbox((x, y), text)
        draw.rectangle(place, fill=colour)
        draw.text((x, y), text, fill="white")
    target.parent.mkdir(parents=True, exist_ok=True)
    canvas.save(target)


def _folder_of(picture: Path | None, folder: Path) -> Path:
    """A source of one picture, which the import reads as carefully as any other."""
    if picture is None or not picture.is_file():
        raise NotFoundError(
            f"No picture `{picture}`", code="no-such-file", hint="Name a file that exists"
        )
    images = folder / "source" / "images"
    images.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(picture, images / picture.name)
    return images.parent


def _by_picture(
    version: Version, rows: list[dict[str, Any]], names: tuple[str, ...]
) -> dict[str, list[dict[str, Any]]]:
    assets = version.assets(columns=["asset_id", "source_names"])
    pictures = dict(
        zip(assets["asset_id"].to_pylist(), assets["source_names"].to_pylist(), strict=True)
    )
    found: dict[str, list[dict[str, Any]]] = {
        source.rpartition("/")[2]: [] for sources in pictures.values() for source in sources
    }
    for row in rows:
        box = {
            "box": {side: round(row[side], 2) for side in "xywh"},
            "class_name": names[row["class_id"]],
            "score": round(row["confidence"], 6),
        }
        for source in pictures[row["asset_id"]]:
            found[source.rpartition("/")[2]].append(box)
    return found
