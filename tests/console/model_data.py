"""A project with two models that were measured, one that was imported, and one of others."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from console_data import HOSTILE, _assets, _png

from mir_ops.catalog import Catalog, Package, ProjectSpec
from mir_ops.console.sources import Sources
from mir_ops.evaluation.materials import read_material
from mir_ops.evaluation.versions import Settings, commit_marks, evaluate_material, keep_report
from mir_ops.executor.models import import_model
from mir_ops.store import Commit, Operation, Store, schema
from mir_ops.taxonomy import ClassName, Taxonomy
from mir_ops.workspace import Workspace

CLASSES = ("cat", "dog", HOSTILE)
OLDER, NEWER, IMPORTED, SECRET = (hashlib.sha256(name.encode()).hexdigest() for name in "abcd")

INFO = {
    "executor_config": {"class_names": ["cat", "<b>dog"]},
    "task_context": {"producer": "ymir", "mAP": 0.6},
    "stages": {"one": {"stage_name": "one", "files": ["a.pt"], "timestamp": 1, "mAP": 0.6}},
    "best_stage_name": "one",
}


@dataclass(frozen=True)
class Shelf:
    """The older model errs more, and takes every third dog for a cat."""

    store: Store
    catalog: Catalog
    evaluations: dict[str, Commit]  # by model

    @property
    def sources(self) -> Sources:
        return Sources(self.store, self.catalog)


def write_shelf(
    folder: Path, *, images: int = 40, store_url: str | None = None, catalog_url: str | None = None
) -> Shelf:
    store = Store.open(store_url or (folder / "store").as_uri(), create=True)
    catalog = Catalog.open(catalog_url or f"sqlite:///{folder}/catalog.db")
    version = _write_truth(store, images)
    evaluations = {}
    for number, (model, share) in enumerate(((OLDER, 0.5), (NEWER, 0.85)), start=1):
        evaluations[model] = _measure(store, catalog, version, model, share, number)
    curves = [{"step": n, "name": "loss", "value": 1 / (n + 1)} for n in range(20)]
    lines = "\n".join(json.dumps(each) for each in curves).encode()
    _add_package(store, catalog, OLDER, "aa", {"training": version.id, "image": "sample:1"})
    _add_package(
        store,
        catalog,
        NEWER,
        "bb",
        {"training": version.id, "image": HOSTILE, "curves": store.put_blob(lines)},
    )
    _add_package(store, catalog, IMPORTED, "cc", {"producer": "ymir"})
    secret = _write_secret(store)
    _add_package(store, catalog, SECRET, "dd", {"training": secret.id})
    return Shelf(store, catalog, evaluations)


def _write_truth(store: Store, images: int) -> Commit:
    contents = [_png(index) for index in range(images)]
    store.put_blobs(contents)
    known = store.register_classes(list(CLASSES))
    ids = [hashlib.sha256(content).digest() for content in contents]
    rng = np.random.default_rng(0)
    rows = [
        _box(asset_id, number, known[CLASSES[number % 3]], rng)
        for asset_id in ids
        for number in range(3)
    ]
    assets = _assets(ids, contents)
    place = assets.schema.get_field_index("split")
    with store.edit(
        "digits/training",
        op_id="truth",
        operation=Operation(kind="import"),
        message="Labels",
        project="digits",
    ) as edit:
        edit.put_taxonomy(Taxonomy(tuple(ClassName(id_, name) for name, id_ in known.items())))
        edit.put_assets(assets.set_column(place, "split", pa.array(["val"] * images)))
        edit.put_layer("ground_truth", pa.Table.from_pylist(rows, schema=schema.GROUND_TRUTH))
    return edit.commit


def _box(asset_id: bytes, number: int, class_id: int, rng: np.random.Generator) -> dict[str, Any]:
    x, y = 4.0 + 30 * number, float(rng.integers(4, 60))
    return {
        "asset_id": asset_id,
        "annotation_id": number + 1,
        "class_id": class_id,
        "kind": "box",
        "x": x,
        "y": y,
        "w": 24.0,
        "h": 28.0,
    }


def _measure(
    store: Store, catalog: Catalog, version: Commit, model: str, share: float, number: int
) -> Commit:
    """Predict on the branch of evaluations, mark, and register it as a round does."""
    layer = f"predictions:{model}"
    with store.edit(
        "digits/guesses",
        op_id=f"infer-{number}",
        operation=Operation(kind="infer", parameters={"model": model, "stage": "best"}),
        message="Predict",
        project="digits",
        base=store.read(version),
    ) as edit:
        edit.put_layer(layer, _predictions(store, version, share, number))
    guessed = store.read(edit.commit)
    material = read_material(guessed, layer=layer)
    evaluation = evaluate_material(material, Settings(counts=True))
    commit = commit_marks(
        store,
        guessed,
        material,
        evaluation,
        branch="digits/evaluation",
        op_id=f"evaluate-{number}",
        message="Evaluate",
        project="digits",
    )
    report = evaluation.report
    _add_round(catalog, model, number, commit, version, store, report)
    return commit


def _predictions(store: Store, version: Commit, share: float, seed: int) -> pa.Table:
    truth = store.read(version).layer("ground_truth").to_pylist()
    cat, dog = (store.classes()[name] for name in CLASSES[:2])
    rng = np.random.default_rng(seed)
    rows = []
    for row in truth:
        found = {key: row[key] for key in ("asset_id", "annotation_id", "kind", "w", "h")}
        taken = cat if row["class_id"] == dog and rng.random() < (1 - share) else row["class_id"]
        moved = 0.0 if rng.random() < share else 40.0
        found |= {"class_id": taken, "x": row["x"], "y": row["y"] + moved}
        rows.append({**found, "confidence": float(rng.uniform(0.2 if moved else 0.5, 0.99))})
    return pa.Table.from_pylist(rows, schema=schema.PREDICTIONS)


def _add_round(
    catalog: Catalog,
    model: str,
    number: int,
    commit: Commit,
    version: Commit,
    store: Store,
    report: Any,
) -> None:
    if catalog.projects.find("digits") is None:
        sources = {"training": "t.zip", "validation": "v.zip", "pool": "p.zip"}
        catalog.projects.create(
            ProjectSpec.model_validate(
                {"name": "digits", "classes": ["cat", "dog"], "sources": sources}
                | {"executor": {"name": "sample"}}
            )
        )
    project = catalog.projects.get("digits")
    round_ = catalog.rounds.open(
        "digits", deployment="here", dag_id="d", run_id=f"run-{number}", spec=project.spec, conf={}
    )
    catalog.models.add(
        round_id=round_.id, op_id=f"train-{number}", model_id=model, stage="best",
        classes=CLASSES, package="p", log=None, training=version.id, image={}, config={},
        seed=0, training_metrics={},
    )  # fmt: skip
    metrics = {
        **report["metrics"],
        "confidence": report["confidence"],
        "marks": report["marks"],
        "mistakes": report["mistakes"],
        "report": keep_report(store, report),
        "gain": None,
    }
    catalog.models.set_evaluation(f"train-{number}", metrics=metrics, predictions=commit.id)
    catalog.rounds.close(round_.id, record="r" * 64)


def _add_package(
    store: Store, catalog: Catalog, model: str, content: str, origin: dict[str, Any]
) -> None:
    catalog.packages.add(
        model_id=model,
        package=store.put_blob(content.encode()),
        classes=CLASSES,
        object_type=2,
        stages={"first": {"mAP": 0.3}, "best": {"mAP": 0.6}},
        best_stage="best",
        origin=origin,
    )


def _write_secret(store: Store) -> Commit:
    content = _png(5000)
    ids = [hashlib.sha256(content).digest()]
    with store.edit(
        "secret/training",
        op_id="secret",
        operation=Operation(kind="import"),
        message="Secret",
        project="secret",
    ) as edit:
        edit.put_assets(_assets(ids, [content]))
    return edit.commit


def write_package(folder: Path, ws: Workspace) -> Package:
    """Import a package of YMIR's that the executor `sample` can use."""
    path = folder / "package.tar.gz"
    members = {"one/a.pt": b"weights", "ymir-info.yaml": yaml.safe_dump(INFO).encode()}
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return import_model(ws, path)
