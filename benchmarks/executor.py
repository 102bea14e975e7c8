"""What running an executor costs the host: preparing, collecting, following, and its Airflow task.

    python benchmarks/executor.py --json                    50 000 images, the size of the limits
    python benchmarks/executor.py --images 2000 --json      a look, in a minute

Preparing and collecting a training is compared in the same run with the bare work, hard links and
annotation files for as many images, and with `mir export` of PyPI's `ymir-cmd` 2.3.0 (`--peer`, as
for `benchmarks/datasets.py`); images and boxes of both are compared before the time counts. One
task of a real Airflow that runs the sample executor is compared with a bare DockerOperator that
runs the same image on the same inputs. A line that could not be measured is not ok and says why.
"""

from __future__ import annotations

import argparse
import filecmp
import hashlib
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datasets import NO_PEER, Side, compile_both, find_peer
from datasets_children import exported, generate
from lines import Line, report

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
    run_job,
)
from mir_ops.store import Store, Version

CLASSES = tuple(f"class{number:02}" for number in range(20))
BOXES = 4
MOST_OVERHEAD = 1.5
MOST_OF_PEER = 1 / 4
MOST_FOLLOWING = 0.01
FOLLOWED_SECONDS = 20
TURNS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The images, and our store of them."""

    root: Path
    images: int
    store: Store

    @property
    def source(self) -> Path:
        return self.root / "data"

    @property
    def version(self) -> Version:
        return self.store.branch("data").read()

    @property
    def cache(self) -> AssetCache:
        return AssetCache(self.root / "cache")

    def prepare(self, name: str, **config: Any) -> Job:
        return prepare_training(
            self.store,
            self.version,
            op_id=hashlib.sha256(name.encode()).hexdigest(),
            image=bundled_image("sample"),
            class_names=CLASSES,
            config=config,
            jobs_dir=self.root / "jobs",
            cache=self.cache,
            limits=Limits(time_seconds=600),
            labels={},
        )


def make_world(root: Path, images: int) -> World:
    """Pictures of which no two are the same, with boxes; every tenth is for validation."""
    source = root / "data"
    generate(str(source), str(images), str(len(CLASSES)))
    paths = (source / "index.tsv").read_text().splitlines()
    parts = {"val": paths[::10], "train": [p for n, p in enumerate(paths) if n % 10]}
    store = Store.open((root / "store").as_uri(), create=True)
    store.register_classes(CLASSES)
    for split, part in parts.items():
        index = root / f"{split}.tsv"
        index.write_text("\n".join(part) + "\n")
        op_id = hashlib.sha256(split.encode()).hexdigest()
        places = {"index_file": index, "gt_dir": source / "annotations"}
        import_dataset(store, index, "data", op_id=op_id, split=split, annotations="voc", **places)
    return World(root=root, images=images, store=store)


def measure_step(world: World, options: argparse.Namespace) -> Iterator[Line]:
    """Preparing and collecting a training, beside the work that it cannot do without.

    Nothing is removed between the measurements: an ext4 without a journal passes over every file
    that was removed in the last minutes whenever it makes a new one.
    """
    ours, bare = [], []
    world.prepare("warm")  # the cache is filled, and read
    for turn in range(TURNS):
        start = _cpu()
        job = world.prepare(f"turn {turn}")
        prepared = _cpu() - start
        if turn == 0:
            written = world.root / "ours.rows"
            exported(str(job.inputs / "assets"), str(job.inputs / "annotations"), str(written))
        run_job(job)
        start = _cpu()
        collect_training(job)
        ours.append(prepared + _cpu() - start)
        bare.append(_bare(world, world.root / f"bare-{turn}"))
    used = statistics.median(ours)
    yield Line(
        name=f"prepare and collect {world.images}, against links and files",
        ours=used,
        other=statistics.median(bare),
        bar=MOST_OVERHEAD,
    )
    peer = find_peer(options)
    compile_both(peer)
    name = f"prepare and collect {world.images}, against the peer's export"
    if peer is None:
        yield Line(name=name, ours=used, bar=MOST_OF_PEER, note=NO_PEER)
    else:
        yield Line(name=name, ours=used, other=_export_of(peer, world), bar=MOST_OF_PEER)


def measure_following(world: World, _: argparse.Namespace) -> Iterator[Line]:
    """What a task uses of a core while its executor runs."""
    for runner in ("process", "docker"):
        line = Line(name=f"following, {runner} runner: of a core", ours=None, limit=MOST_FOLLOWING)
        job = world.prepare(f"follow {runner}", idle_seconds=FOLLOWED_SECONDS)
        try:
            yield replace(line, ours=_follow(job, runner))
        except MirError as error:
            yield replace(line, note=str(error))


def measure_task(world: World, options: argparse.Namespace) -> Iterator[Line]:
    """A whole task that trains nothing, beside a bare DockerOperator, in one real Airflow."""
    from executor_tasks import run_tasks

    name = "one empty task, against a bare DockerOperator: median s"
    try:
        ours, bare = run_tasks(world.root / "airflow", options.tasks)
    except MirError as error:
        yield Line(name=name, ours=None, bar=MOST_OVERHEAD, note=str(error))
        return
    yield Line(
        name=name,
        ours=statistics.median(ours),
        other=statistics.median(bare),
        bar=MOST_OVERHEAD,
        note=f"of {options.tasks} runs in turn; bare {_span(bare)} s, ours {_span(ours)} s",
    )


def _export_of(peer: Path, world: World) -> float:
    """The CPU seconds of the peer's export, whose images and boxes are those of our job."""
    side = Side(command=(str(peer / "bin/mir"),), folder=world.root / "peer", ours=False)
    side.init(len(CLASSES))
    side.import_(world.source, "all")
    used = side.export("all@import")
    written = world.root / "peer.rows"
    exported(str(side.folder / "out"), str(side.folder / "out-gt"), str(written))
    if not filecmp.cmp(world.root / "ours.rows", written, shallow=False):
        raise SystemExit(f"exports differ: compare {world.root / 'ours.rows'} with {written}")
    return used.cpu


def _follow(job: Job, runner: str) -> float:
    from mir_ops.executor.engine import open_engine

    engine = open_engine() if runner == "docker" else None
    with owning(job.folder.parent, job.op_id):
        run = open_run(job, runner=runner, engine=engine)
        try:
            run.start()
            cpu, wall = _own_cpu(), time.monotonic()
            run.follow(on_progress=lambda _: None, on_log=lambda _: None)
            return (_own_cpu() - cpu) / (time.monotonic() - wall)
        finally:
            run.remove()
            if engine is not None:
                engine.close()


def _bare(world: World, folder: Path) -> float:
    """Link every image and write a VOC file for it: nothing is looked up, checked or verified."""
    ids = [one.hex() for one in world.version.asset_ids().to_pylist()]
    files = [world.cache.directory / one[:2] / one for one in ids]
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


def _cpu() -> float:
    """CPU seconds of this process, all its threads, and its children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return _own_cpu() + children.ru_utime + children.ru_stime


def _own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _span(seconds: Sequence[float]) -> str:
    return f"{min(seconds):.1f} to {max(seconds):.1f}"


SECTIONS = {"step": measure_step, "following": measure_following, "task": measure_task}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--tasks", type=int, default=5, help="runs of each kind of task")
    parser.add_argument("--only", default="", help=f"sections by comma: {', '.join(SECTIONS)}")
    parser.add_argument("--dir", type=Path, help="where to work (default: the temporary folder)")
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--peer", help="virtual environment with ymir-cmd; made where missing")
    parser.add_argument("--peer-python", help="a Python 3.8 to make it with")
    return parser.parse_args()


def main() -> int:
    options = _arguments()
    chosen = options.only.split(",") if options.only else list(SECTIONS)
    missed = 0
    with tempfile.TemporaryDirectory(prefix="mir-benchmark-", dir=options.dir) as folder:
        size = options.images if "step" in chosen else 100
        world = make_world(Path(folder), size)
        for section in chosen:
            missed |= report(SECTIONS[section](world, options), as_json=options.json)
    return missed


if __name__ == "__main__":
    sys.exit(main())
