"""The conformance kit: an image on a tiny dataset, clause by clause of the contract."""

from __future__ import annotations

import hashlib
import io
import json
import math
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, Literal

import yaml

from mir_ops.errors import MirError
from mir_ops.executor.cache import AssetCache
from mir_ops.executor.failures import ExecutorFailedError
from mir_ops.executor.inference import collect_inference
from mir_ops.executor.inputs import prepare_inference, prepare_training
from mir_ops.executor.jobs import ExecutorImage, Job, Limits, ModelFiles
from mir_ops.executor.monitor import follow_monitor
from mir_ops.executor.reaping import throwaway_labels
from mir_ops.executor.stages import main_metric
from mir_ops.executor.training import TrainingResult, collect_training

if TYPE_CHECKING:
    from mir_ops.store import Store, Version

State = Literal["passed", "failed", "not claimed"]
CLASSES: Final = ("disc", "square")
STAGES: Final = 11  # what YMIR's own SDK keeps at most

_SIZE: Final = (96, 72)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """One rule of the contract, and whether the image keeps it."""

    name: str
    state: State
    text: str
    detail: str = ""


TEXTS: Final[Mapping[str, str]] = {
    "templates": "`/img-man` has a template for at least one kind of job",
    "templates-flat": "manifest and templates are mappings of one level",
    "train-exit": "a training that can succeed exits with 0",
    "train-inputs": "`/in` is as it was after the job",
    "train-monitor": "`monitor.txt` has one record: task, time, share, state 2 or 4",
    "train-result": "`result.yaml` and its stages can be collected",
    "train-metric": "every stage says how good it is, by the metric of its object type",
    "train-stage-folders": "files of a stage lie in `/out/models/<stage>/`",
    "train-stages": f"there are at most {STAGES} stages",
    "train-best": "`best_stage_name` names the stage with the best metric",
    "train-curves": "curves are in `/out/tensorboard` or `metrics.jsonl`",
    "train-environment": "`result.yaml` says which versions it ran with",
    "train-nothing": "a training without images fails, with an exit code or state 4",
    "train-pretrained": "a training starts from `pretrained_model_params`",
    "infer-exit": "an inference exits with 0",
    "infer-result": "`infer-result.json` can be collected",
    "infer-complete": "every candidate has an entry, named as its file",
    "infer-classes": "only class names of `config.yaml` are used",
    "infer-scores": "every box has a score",
    "infer-inside": "boxes are whole pixels inside their image",
    "infer-probs": "boxes carry `class_probs`",
    "infer-embeddings": "`/out/embeddings.parquet` has a vector per candidate",
    "mine-exit": "a mining exits with 0",
    "mine-result": "`result.tsv` has a finite score for each candidate, once",
    "mine-order": "`result.tsv` is sorted, best first",
    "mine-and-infer": "mining and inference work in one run",
}


@dataclass(slots=True)
class _Kit:
    """What the clauses share: the image, its tiny dataset, and what was found so far."""

    image: ExecutorImage
    runner: str
    config: Mapping[str, Any]
    limits: Limits
    folder: Path
    on_clause: Callable[[Clause], None]
    clauses: list[Clause] = field(default_factory=list)
    store: Store = field(init=False)
    version: Version = field(init=False)

    def note(self, name: str, good: bool | None, detail: str = "") -> None:
        """Write a clause down; None means that the image does not claim it."""
        state: State = "not claimed" if good is None else "passed" if good else "failed"
        clause = Clause(name=name, state=state, text=TEXTS[name], detail=detail)
        self.clauses.append(clause)
        self.on_clause(clause)

    def skip(self, prefix: str, detail: str) -> None:
        done = {clause.name for clause in self.clauses}
        for name in TEXTS:
            if name.startswith(prefix) and name not in done:
                self.note(name, None, detail)

    def run(self, name: str, job: Job) -> bool:
        """Run a job; its failure is the clause's."""
        from mir_ops.executor import run_job

        try:
            run_job(job, runner=self.runner)
        except ExecutorFailedError as error:
            self.note(name, False, _short(error))
            return False
        self.note(name, True)
        return True


def check_executor(
    image: ExecutorImage,
    *,
    runner: str,
    config: Mapping[str, Any],
    time_seconds: float,
    on_clause: Callable[[Clause], None],
) -> list[Clause]:
    """Try every clause; `config` changes the settings of the training, to make it short."""
    with TemporaryDirectory(prefix="mir-check-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        kit = _Kit(
            image=image,
            runner=runner,
            config=config,
            limits=Limits(time_seconds=time_seconds),
            folder=folder,
            on_clause=on_clause,
        )
        kit.store, kit.version = _tiny_dataset(folder, image.object_type)
        _check_templates(kit)
        trained = _check_training(kit)
        _check_inference(kit, trained)
        return kit.clauses


def _check_templates(kit: _Kit) -> None:
    kinds = [kind for kind in ("train", "mine", "infer") if _can(kit, kind)]
    kit.note("templates", bool(kinds), ", ".join(kinds))
    flat = all(
        not isinstance(value, dict)
        for template in kit.image.templates.values()
        for value in template.values()
    )
    kit.note("templates-flat", flat and bool(kinds))


def _check_training(kit: _Kit) -> TrainingResult | None:
    if not _can(kit, "train"):
        kit.skip("train-", "no training template")
        return None
    job = _training(kit, "train")
    before = _digest(job.inputs)
    if not kit.run("train-exit", job):
        kit.skip("train-", "the training failed")
        return None
    kit.note("train-inputs", _digest(job.inputs) == before)
    _check_monitor(kit, job)
    try:
        trained = collect_training(job)
    except MirError as error:
        kit.note("train-result", False, _short(error))
        kit.skip("train-", "no result")
        return None
    kit.note("train-result", True, f"model {trained.model_id[:12]}")
    _check_stages(kit, job, trained)
    _check_empty_training(kit)
    again = _training(kit, "pretrained", model=trained.model_files())
    kit.run("train-pretrained", again)
    return trained


def _check_monitor(kit: _Kit, job: Job) -> None:
    said = follow_monitor(job)
    good = said is not None and said.state in ("running", "failed", "done")
    detail = "" if said is not None else "missing, or not a record"
    if said is not None and not _is_time(said.timestamp):
        good, detail = False, f"`{said.timestamp}` is not a time in seconds"
    kit.note("train-monitor", good, detail)


def _check_stages(kit: _Kit, job: Job, trained: TrainingResult) -> None:
    metric = main_metric(kit.image.object_type)
    without = [stage.name for stage in trained.stages if metric not in stage.metrics]
    missing = f"no {metric}: {', '.join(without)}" if without else metric
    kit.note("train-metric", not without, missing)
    models = job.outputs / "models"
    loose = [
        file.name
        for stage in trained.stages
        for file in stage.files
        if models / stage.name not in file.path.parents
    ]
    kit.note("train-stage-folders", not loose, ", ".join(loose[:3]))
    kit.note("train-stages", len(trained.stages) <= STAGES, str(len(trained.stages)))
    result = yaml.safe_load((models / "result.yaml").read_text(encoding="utf-8"))
    best = max(stage.metrics.get(metric, -1.0) for stage in trained.stages)
    right = trained.metrics.get(metric, -1.0) == best
    kit.note("train-best", "best_stage_name" in result and right, trained.best_stage)
    curves = trained.tensorboard is not None or (job.outputs / "metrics.jsonl").is_file()
    kit.note("train-curves", curves or None)
    kit.note("train-environment", bool(result.get("environment")) or None)


def _check_empty_training(kit: _Kit) -> None:
    from mir_ops.executor import run_job

    job = _training(kit, "nothing")
    for name in ("train-index.tsv", "val-index.tsv"):
        (job.inputs / name).write_text("")
    try:
        run_job(job, runner=kit.runner)
    except ExecutorFailedError as error:
        kit.note("train-nothing", True, f"code {error.executor_code or 'none'}")
    else:
        kit.note("train-nothing", False, "it exited with 0")


def _check_inference(kit: _Kit, trained: TrainingResult | None) -> None:
    if trained is None:
        kit.skip("infer-", "no model to try it with")
        kit.skip("mine-", "no model to try it with")
        return
    model = trained.model_files()
    if _can(kit, "infer"):
        _check_predictions(kit, model)
    else:
        kit.skip("infer-", "no infer template")
    if _can(kit, "mine"):
        _check_mining(kit, model)
    else:
        kit.skip("mine-", "no mining template")


def _check_predictions(kit: _Kit, model: ModelFiles) -> None:
    job = _inference(kit, "infer", model)
    if not kit.run("infer-exit", job):
        kit.skip("infer-", "the inference failed")
        return
    try:
        found = collect_inference(job, dict(zip(CLASSES, (0, 1), strict=True)))
    except MirError as error:
        kit.note("infer-result", False, _short(error))
        kit.skip("infer-", "no result")
        return
    report = found.report
    kit.note("infer-result", True, f"{report.boxes} boxes on {report.assets} images")
    kit.note("infer-complete", not report.without_result, _amount(len(report.without_result)))
    kit.note("infer-classes", not report.unknown_classes, ", ".join(report.unknown_classes))
    kit.note("infer-scores", not report.without_score, _amount(report.without_score))
    if kit.image.object_type == 2:
        broken = report.clipped + report.outside + _fractions(job)
        kit.note("infer-inside", not broken, _amount(broken))
    else:
        kit.note("infer-inside", None, "segments have no such rule")
    probs = found.predictions["class_probs"]
    kit.note("infer-probs", (len(probs) > probs.null_count) or None)
    if found.embeddings is None:
        kit.note("infer-embeddings", None)
    else:
        whole = found.embeddings.num_rows == kit.version.stats.assets
        kit.note("infer-embeddings", whole, f"{found.embeddings.num_rows} vectors")


def _check_mining(kit: _Kit, model: ModelFiles) -> None:
    from mir_ops.executor.inference import collect_mining

    job = _inference(kit, "mine", model, mine=True, predict=False)
    if not kit.run("mine-exit", job):
        kit.skip("mine-", "the mining failed")
        return
    try:
        scores = collect_mining(job)
    except MirError as error:
        kit.note("mine-result", False, _short(error))
        kit.skip("mine-", "no result")
        return
    missing = kit.version.stats.assets - scores.num_rows
    kit.note("mine-result", not missing, _amount(missing))
    lines = (job.outputs / "result.tsv").read_text(encoding="utf-8").splitlines()
    order = [float(line.split("\t")[1]) for line in lines if line.strip()]
    kit.note("mine-order", order == sorted(order, reverse=True))
    if not _can(kit, "infer"):
        kit.note("mine-and-infer", None, "no infer template")
        return
    both = _inference(kit, "both", model, mine=True, predict=True)
    if kit.run("mine-and-infer", both) and not (both.outputs / "infer-result.json").is_file():
        kit.clauses.pop()
        kit.note("mine-and-infer", False, "no `infer-result.json`")


def _training(kit: _Kit, name: str, model: ModelFiles | None = None) -> Job:
    return prepare_training(
        kit.store,
        kit.version,
        op_id=_op_id(f"{kit.folder} {name}"),  # others may check an image meanwhile
        image=kit.image,
        class_names=CLASSES,
        config=_settings(kit),
        jobs_dir=kit.folder / "jobs",
        cache=AssetCache(kit.folder / "cache"),
        limits=kit.limits,
        labels={"mir.check": name, **throwaway_labels()},
        model=model,
    )


def _inference(
    kit: _Kit, name: str, model: ModelFiles, *, mine: bool = False, predict: bool = True
) -> Job:
    return prepare_inference(
        kit.store,
        kit.version,
        op_id=_op_id(f"{kit.folder} {name}"),  # others may check an image meanwhile
        image=kit.image,
        asset_ids=kit.version.asset_ids(),
        model=model,
        config={},
        jobs_dir=kit.folder / "jobs",
        cache=AssetCache(kit.folder / "cache"),
        limits=kit.limits,
        labels={"mir.check": name, **throwaway_labels()},
        mine=mine,
        predict=predict,
    )


def _settings(kit: _Kit) -> dict[str, Any]:
    """Segmentation has no shapes in VOC, which a missing `export_format` means."""
    if kit.image.object_type == 2:
        return dict(kit.config)
    return {"export_format": "coco:raw", **kit.config}


def _can(kit: _Kit, kind: str) -> bool:
    if kind in kit.image.templates:
        return True
    try:
        return kit.image.folder is not None and bool(kit.image.template(kind) or True)  # type: ignore[arg-type]
    except MirError:
        return False


def _tiny_dataset(folder: Path, object_type: int) -> tuple[Store, Version]:
    """Discs and squares: 24 images to train on, 8 to measure on."""
    from mir_ops.dataset import import_dataset
    from mir_ops.store import Store

    store = Store.open((folder / "store").as_uri(), create=True)
    store.register_classes(CLASSES)
    for split, seeds in (("train", range(24)), ("val", range(100, 108))):
        source = folder / split
        for name in ("images", "annotations"):
            (source / name).mkdir(parents=True)
        for seed in seeds:
            _write_scene(source, seed)
        import_dataset(store, source, "check", op_id=_op_id(split), split=split)
        shutil.rmtree(source)
    if object_type in (3, 4):
        _add_shapes(store)
    return store, store.branch("check").read()


def _write_scene(source: Path, seed: int) -> None:
    from PIL import Image, ImageDraw

    from mir_ops.formats.voc import VocFile, VocObject, write_voc

    dice = random.Random(seed)
    image = Image.new("RGB", _SIZE, (dice.randint(0, 60), dice.randint(0, 60), 40))
    side = dice.randint(18, 30)
    x, y = dice.randint(0, _SIZE[0] - side), dice.randint(0, _SIZE[1] - side)
    name = CLASSES[seed % 2]
    draw = ImageDraw.Draw(image)
    shape = draw.ellipse if name == "disc" else draw.rectangle
    shape((x, y, x + side - 1, y + side - 1), fill=(230, 220, dice.randint(120, 255)))
    written = io.BytesIO()
    image.save(written, "PNG")
    (source / f"images/{seed}.png").write_bytes(written.getvalue())
    box = (float(x), float(y), float(side), float(side))
    file = VocFile(filename=str(seed), size=_SIZE, objects=(VocObject(name=name, box=box),))
    (source / f"annotations/{seed}.xml").write_bytes(write_voc(file))


def _add_shapes(store: Store) -> None:
    """Each box also as a ring, for images that segment."""
    import pyarrow as pa

    from mir_ops.store import Operation, schema

    rows = store.branch("check").read().layer("ground_truth").to_pylist()
    for row in rows:
        x, y, w, h = (row[side] for side in "xywh")
        ring = [x, y, x + w, y, x + w, y + h, x, y + h]
        row |= {"kind": "polygon", "polygon": [ring], "area": w * h}
    with store.edit(
        "check", op_id=_op_id("shapes"), operation=Operation(kind="check"), message="Shapes"
    ) as edit:
        edit.put_layer("ground_truth", pa.Table.from_pylist(rows, schema.GROUND_TRUTH))


def _fractions(job: Job) -> int:
    """Boxes that are not of whole pixels: YMIR's own host refuses those."""
    content = json.loads((job.outputs / "infer-result.json").read_bytes())
    sides = (
        side
        for entry in content["detection"].values()
        for box in entry.get("boxes", entry.get("annotations", []))
        for name, side in box["box"].items()
        if name in "xywh"
    )
    return sum(not float(side).is_integer() for side in sides)


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(str(path.relative_to(folder)).encode())
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _op_id(name: str) -> str:
    return hashlib.sha256(f"mir executor check {name}".encode()).hexdigest()


def _is_time(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _amount(count: int) -> str:
    return str(count) if count else ""


def _short(error: MirError) -> str:
    return " / ".join(line.strip() for line in str(error).splitlines())[:400]
