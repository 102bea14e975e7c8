"""What running an executor costs the host: preparing, collecting and following.

    python benchmarks/executor.py --json                    a small set, in seconds
    python benchmarks/executor.py --images 50000 --json     the size that the limits are for

The bare work is timed in the same run: hard links and annotation files for as many images. `ok` is
null where a number is reported and not judged.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mir_ops.dataset import import_dataset
from mir_ops.errors import MirError
from mir_ops.executor import (
    AssetCache,
    Job,
    Limits,
    bundled_image,
    collect_training,
    open_run,
    owning,
    prepare_training,
    remove_job,
    run_job,
)
from mir_ops.store import Store, Version

CLASSES = ("cat", "dog", "bird")
BOXES = 2
MOST_OVERHEAD = 1.5
MOST_FOLLOWING = 0.01
TURNS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One comparison; `bar` is the largest ratio that is good enough."""

    name: str
    ours: float
    other: float | None = None
    bar: float | None = None
    unit: str = "s"

    def to_dict(self) -> dict[str, Any]:
        ratio = self.ours / self.other if self.other else None
        judged = ratio if self.other else self.ours
        return {
            "name": self.name,
            "ours": round(self.ours, 5),
            "other": None if self.other is None else round(self.other, 5),
            "ratio": None if ratio is None else round(ratio, 3),
            "unit": self.unit,
            "bar": self.bar,
            "ok": None if self.bar is None or judged is None else judged <= self.bar,
        }


def main() -> int:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        root = Path(folder)
        store = _make_store(root, arguments.images)
        version = store.branch("data").read()
        lines = [*_measure_step(root, store, version), *_measure_following(root, store, version)]
    failed = False
    for line in lines:
        told = line.to_dict()
        failed |= told["ok"] is False
        print(json.dumps(told) if arguments.json else _text(told))
    return int(failed)


def _measure_step(root: Path, store: Store, version: Version) -> Iterator[Line]:
    """Preparing and collecting a training, beside the links and files that it cannot do without."""
    ours, bare = [], []
    cache = AssetCache(root / "cache")
    remove_job(_prepare(root, store, version, cache, "warm"))  # the cache is filled, and read
    for turn in range(TURNS):
        start = _cpu()
        job = _prepare(root, store, version, cache, f"turn {turn}")
        prepared = _cpu() - start
        run_job(job)
        start = _cpu()
        collect_training(job)
        ours.append(prepared + _cpu() - start)
        remove_job(job)
        bare.append(_bare(root / f"bare-{turn}", version, cache))
    yield Line(
        name=f"prepare and collect, {version.commit.stats.assets} images",
        ours=statistics.median(ours),
        other=statistics.median(bare),
        bar=MOST_OVERHEAD,
        unit="CPU s",
    )


def _measure_following(root: Path, store: Store, version: Version) -> Iterator[Line]:
    """What a task uses of a core while its executor runs."""
    for runner in ("process", "docker"):
        config = {"idle_seconds": 10}
        cache = AssetCache(root / "cache")
        job = _prepare(root, store, version, cache, f"follow {runner}", config=config)
        try:
            share = _follow(job, runner)
        except MirError as error:
            print(f"{runner}: not measured: {error}", file=sys.stderr)
            continue
        yield Line(
            name=f"following, {runner} runner", ours=share, bar=MOST_FOLLOWING, unit="of a core"
        )


def _follow(job: Job, runner: str) -> float:
    from mir_ops.executor.engine import open_engine

    engine = open_engine() if runner == "docker" else None
    with owning(job.folder.parent, job.op_id):
        run = open_run(job, runner=runner, engine=engine)
        try:
            run.start()
            cpu, wall = _own_cpu(), time.monotonic()
            run.follow(on_progress=lambda _: None, on_log=lambda _: None)
            share = (_own_cpu() - cpu) / (time.monotonic() - wall)
        finally:
            run.remove()
            if engine is not None:
                engine.close()
    return share


def _prepare(
    root: Path,
    store: Store,
    version: Version,
    cache: AssetCache,
    name: str,
    *,
    config: dict[str, Any] | None = None,
) -> Job:
    return prepare_training(
        store,
        version,
        op_id=hashlib.sha256(name.encode()).hexdigest(),
        image=bundled_image("sample"),
        class_names=CLASSES,
        config=config or {},
        jobs_dir=root / "jobs",
        cache=cache,
        limits=Limits(time_seconds=600),
        labels={},
    )


def _bare(folder: Path, version: Version, cache: AssetCache) -> float:
    """Link every image and write a VOC file for it: nothing is looked up, checked or verified."""
    ids = [one.hex() for one in version.asset_ids().to_pylist()]
    files = [cache.directory / one[:2] / one for one in ids]
    box = "<object><name>cat</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax>"
    text = f"<annotation>{(box + '<ymax>4</ymax></bndbox></object>') * BOXES}</annotation>"
    start = _cpu()
    for part in {one[-2:] for one in ids}:
        (folder / "assets" / part).mkdir(parents=True)
        (folder / "annotations" / part).mkdir(parents=True)
    with open(folder / "index.tsv", "w") as index:
        for one, file in zip(ids, files, strict=True):
            image = folder / "assets" / one[-2:] / f"{one}.jpg"
            annotation = folder / "annotations" / one[-2:] / f"{one}.xml"
            os.link(file, image)
            annotation.write_text(text)
            index.write(f"{image}\t{annotation}\n")
    return _cpu() - start


def _make_store(root: Path, images: int) -> Store:
    """Pictures that no two are the same, with boxes, for training and validation."""
    from PIL import Image

    from mir_ops.formats.voc import VocFile, VocObject, write_voc

    dice = np.random.default_rng(0)
    store = Store.open((root / "store").as_uri(), create=True)
    store.register_classes(CLASSES)
    for split, count in (("train", images - images // 10), ("val", images // 10)):
        source = root / split
        (source / "images").mkdir(parents=True)
        (source / "annotations").mkdir()
        for number in range(count):
            pixels = dice.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(source / "images" / f"{split}-{number}.png")
            objects = tuple(
                VocObject(name=CLASSES[(number + nth) % 3], box=(1.0 + nth, 2.0, 8.0, 9.0))
                for nth in range(BOXES)
            )
            file = VocFile(filename=f"{split}-{number}.png", size=(16, 16), objects=objects)
            (source / "annotations" / f"{split}-{number}.xml").write_bytes(write_voc(file))
        op_id = hashlib.sha256(split.encode()).hexdigest()
        import_dataset(store, source, "data", op_id=op_id, split=split)
    return store


def _cpu() -> float:
    """CPU seconds of this process, all its threads, and its children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return _own_cpu() + children.ru_utime + children.ru_stime


def _own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _text(line: dict[str, Any]) -> str:
    mark = {True: "ok", False: "FAILED", None: ""}[line["ok"]]
    beside = f" beside {line['other']} (× {line['ratio']})" if line["other"] is not None else ""
    return f"{line['name']}: {line['ours']} {line['unit']}{beside} {mark}".rstrip()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--dir", type=Path, help="where to work (default: the temporary folder)")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
