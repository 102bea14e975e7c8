"""Is the second model better than the first? One mined and labelled round, over several seeds.

Per seed: a fresh data set of scenes, a model trained on the first images, a pick of images from the
pool, their labels, and a second model trained from scratch in the same way on both. The same again
with a random pick as control. Both models are measured on the same validation images, whose glyphs
occur in no other part. With `--json` one object a line: `ok` is null where a number is reported
and not judged.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
from lines import Line, report

from mir_ops import mining
from mir_ops.dataset import import_dataset, merge, subset
from mir_ops.demo.scenes import CLASS_NAMES, write_dataset
from mir_ops.evaluation import Metrics, evaluate
from mir_ops.executor import (
    AssetCache,
    InferenceResult,
    Job,
    Limits,
    ModelFiles,
    bundled_image,
    collect_inference,
    collect_training,
    prepare_inference,
    prepare_training,
    run_job,
)
from mir_ops.store import Store, Version, operation_id
from mir_ops.taxonomy import Taxonomy

CONTROL = "random"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A model and what it scored, after training on `boxes` boxes of `images` images."""

    model: ModelFiles
    metrics: Metrics
    images: int
    boxes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """One seed's store and folders."""

    store: Store
    folder: Path
    seed: int
    iterations: int | None
    gpus: int = 0

    @property
    def classes(self) -> dict[str, int]:
        return self.store.register_classes(CLASS_NAMES)

    def bring_in(self, *, images: int, validation: int, pool: int) -> None:
        """Import the parts of a fresh data set; `answers` is the pool with its labels."""
        paths = write_dataset(
            self.folder / "data",
            seed=self.seed,
            training=images,
            validation=validation,
            pool=pool,
        )
        taxonomy = Taxonomy.from_names(self.classes)
        for branch, path in (
            ("first", paths.training),
            ("validation", paths.validation),
            ("pool", paths.pool),
            ("answers", paths.oracle),
        ):
            import_dataset(
                self.store,
                path,
                branch,
                op_id=self.op_id("import", branch),
                annotations="none" if branch == "pool" else "voc",
                taxonomy=taxonomy,
            )

    def train(self, branch: str, parts: Sequence[str]) -> Measured:
        """Train on the labelled parts and measure on the validation images."""
        sources = [*(f"tr:{part}" for part in parts), "va:validation"]
        merge(self.store, sources, branch, op_id=self.op_id("merge", branch))
        version = self.store.read(branch)
        config: dict[str, object] = {"seed": self.seed, "export_onnx": False}
        if self.iterations is not None:
            config["iterations"] = self.iterations
        job = prepare_training(
            self.store,
            version,
            op_id=self.op_id("train", branch),
            image=bundled_image("detector"),
            class_names=CLASS_NAMES,
            config=config,
            jobs_dir=self.folder / "jobs",
            cache=self._cache,
            limits=Limits(gpus=self.gpus),
            labels={},
        )
        self._run(job)
        model = collect_training(job).model_files()
        trained = version.assets(columns=["asset_id", "split"])
        trained = trained.filter(pc.equal(trained["split"], "train"))["asset_id"]
        return Measured(
            model=model,
            metrics=self._measure(model, version),
            images=len(trained),
            boxes=version.layer("ground_truth", ids=trained.combine_chunks()).num_rows,
        )

    def pick(self, model: ModelFiles, *, strategies: Sequence[str], budget: int) -> None:
        """Commit one branch of labelled images per strategy, all from the same predictions."""
        pool, first = self.store.read("pool"), self.store.read("first")
        found, seen = self._infer(model, pool, "pool"), self._infer(model, first, "first")
        labelled = mining.read_labelled(first.layer("ground_truth"), seen.embeddings)
        for strategy in strategies:
            scores = mining.select(
                strategy,
                assets=pool.assets(columns=["asset_id"]),
                predictions=found.predictions,
                embeddings=found.embeddings,
                labelled=labelled,
                classes={number: name for name, number in self.classes.items()},
                budget=budget,
                seed=self.seed,
            ).scores
            picked = scores.filter(pc.is_valid(scores["rank"]))["asset_id"].combine_chunks()
            op_id = self.op_id("pick", strategy)
            subset(self.store, "answers", f"picked/{strategy}", asset_ids=picked, op_id=op_id)

    def op_id(self, step: str, what: str) -> str:
        return operation_id(f"benchmark/{step}", {"what": what})

    def _measure(self, model: ModelFiles, version: Version) -> Metrics:
        validation = self.store.read("validation")
        found = self._infer(model, validation, f"validation/{version.commit.id}")
        return evaluate(
            ground_truth=validation.layer("ground_truth"),
            predictions=found.predictions,
            assets=validation.assets(columns=["asset_id"]),
            classes={number: name for name, number in self.classes.items()},
        )

    def _infer(self, model: ModelFiles, version: Version, what: str) -> InferenceResult:
        job = prepare_inference(
            self.store,
            version,
            op_id=self.op_id("infer", what),
            image=bundled_image("detector"),
            asset_ids=version.asset_ids(),
            model=model,
            config={},
            jobs_dir=self.folder / "jobs",
            cache=self._cache,
            limits=Limits(),
            labels={},
        )
        self._run(job)
        return collect_inference(job, self.classes)

    def _run(self, job: Job) -> None:
        run_job(job, runner="process", on_progress=lambda _: None)

    @property
    def _cache(self) -> AssetCache:
        return AssetCache(self.folder / "cache")


def run_seed(args: argparse.Namespace, seed: int) -> Iterator[Line]:
    with tempfile.TemporaryDirectory(prefix="mir-second-model-") as folder:
        lab = Lab(
            store=Store.open(f"file://{folder}/store", create=True),
            folder=Path(folder),
            seed=seed,
            iterations=args.iterations,
        )
        lab.bring_in(images=args.images, validation=args.validation, pool=args.pool)
        first = lab.train("training/first", ["first"])
        _say(f"seed {seed}: first model", first)
        strategies = [args.strategy, CONTROL]
        lab.pick(first.model, strategies=strategies, budget=args.budget)
        second = {}
        for strategy in strategies:
            parts = ["first", f"picked/{strategy}"]
            second[strategy] = lab.train(f"training/{strategy}", parts)
            _say(f"seed {seed}: second model, {strategy}", second[strategy])
    mined, control = second[args.strategy], second[CONTROL]
    before = first.metrics
    yield Line(
        name=f"second model against first: map50, seed {seed}",
        ours=mined.metrics.map50,
        other=before.map50,
        bar=1.0,
        sense=">",
    )
    yield Line(
        name=f"second model against first: map50-95, seed {seed}",
        ours=mined.metrics.map50_95,
        other=before.map50_95,
    )
    yield Line(
        name=f"random pick against first: map50, seed {seed}",
        ours=control.metrics.map50,
        other=before.map50,
    )
    yield Line(
        name=f"{args.strategy} against random: map50, seed {seed}",
        ours=mined.metrics.map50,
        other=control.metrics.map50,
    )
    yield Line(
        name=f"{args.strategy} against random: boxes, seed {seed}",
        ours=float(mined.boxes),
        other=float(control.boxes),
    )


def _say(what: str, measured: Measured) -> None:
    metrics = measured.metrics
    print(
        f"{what}: {measured.images} images, {measured.boxes} boxes, "
        f"map50 {metrics.map50:.3f}, map50-95 {metrics.map50_95:.3f}",
        file=sys.stderr,
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--strategy", default="hybrid", choices=sorted(mining.strategies()))
    parser.add_argument("--images", type=int, default=100, help="labelled at the start")
    parser.add_argument("--budget", type=int, default=100, help="labelled in between")
    parser.add_argument("--validation", type=int, default=240)
    parser.add_argument("--pool", type=int, default=1500)
    parser.add_argument("--iterations", type=int, help="of each training; default: the detector's")
    args = parser.parse_args()
    started = time.monotonic()
    lines = itertools.chain.from_iterable(run_seed(args, seed) for seed in args.seeds)
    missed = report(lines, as_json=args.json)
    print(f"{time.monotonic() - started:.0f} seconds", file=sys.stderr)
    return missed


if __name__ == "__main__":
    sys.exit(main())
