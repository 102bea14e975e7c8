"""A version with everything that images can be filtered by, and a past."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from console_data import HOSTILE, _png

from mir_ops.console.sources import Sources
from mir_ops.demo.scenes import Scene, compose
from mir_ops.evaluation.materials import read_material
from mir_ops.evaluation.versions import Settings, commit_marks, evaluate_material
from mir_ops.formats import rle
from mir_ops.store import Commit, Operation, Store, Version
from mir_ops.store.schema import ASSET_ID, ASSETS, GROUND_TRUTH, PREDICTIONS, SCORES
from mir_ops.taxonomy import ClassName, Taxonomy

PROJECT = "street"
BRANCH = "street/training"
MODEL = "predictions:0123456789abcdef"
MARKED = "scores:evaluation:0123456789abcdef"
PICKED = "scores:uncertainty"
SIDE = 96


@dataclass(frozen=True)
class Street:
    """100 images in the order of their ids; `versions` are the ids of the commits, oldest first."""

    store: Store
    asset_ids: list[bytes]
    versions: list[str]
    classes: Mapping[str, int] = field(default_factory=dict)
    corrected: int = 1  # the image whose boxes the last commit changed

    @property
    def version(self) -> Version:
        return self.store.read(self.versions[-1])

    @property
    def page(self) -> str:
        return f"/projects/{PROJECT}/versions/{self.versions[-1]}/images"

    def hex(self, index: int) -> str:
        return self.asset_ids[index].hex()

    def sources(self) -> Sources:
        return Sources(self.store)


def write_street(folder: Path) -> Street:
    """Image n: car on all but each tenth, sign on each third, a mask of a road on each seventh.

    Split train, val, test and none in turn; weather sun or rain. The model looks at the first 60,
    is right on cars and sees a person where none is on each fourth. Mining picked 90 to 99.
    """
    store = Store.open((folder / "store").as_uri(), create=True)
    contents = sorted(
        (_png(seed) for seed in range(100)), key=lambda one: hashlib.sha256(one).digest()
    )
    ids = [hashlib.sha256(content).digest() for content in contents]
    store.put_blobs(contents)
    classes = store.register_classes(["car", "sign", "person", "road", HOSTILE])
    made = Street(store, ids, [], classes)
    for commit in _commits(made, contents):
        made.versions.append(commit.id)
    return made


def _commits(made: Street, contents: Sequence[bytes]) -> Iterator[Commit]:
    ids, known = made.asset_ids, made.classes
    yield _commit(
        made.store,
        "import",
        taxonomy=Taxonomy(tuple(ClassName(id_, name) for name, id_ in known.items())),
        assets=[_asset(n, one, contents[n]) for n, one in enumerate(ids)],
        ground_truth=(GROUND_TRUTH, [row for n in range(90) for row in truths(made, n)], ids[:90]),
    )
    found = [row for n in range(60) for row in predictions(made, n)]
    yield _commit(made.store, "infer", **{MODEL: (PREDICTIONS, found, ids[:60])})
    yield _marks(made.store)
    yield _commit(made.store, "mine", **{PICKED: (SCORES, list(_scores(made)), ids)})
    moved = {**truths(made, 1)[0], "x": 40.0}
    yield _commit(
        made.store,
        f"correct {HOSTILE}",
        assets=[_asset(2, ids[2], contents[2]) | {"split": "train"}],
        ground_truth=(GROUND_TRUTH, [moved], ids[1:2]),
    )


def _marks(store: Store) -> Commit:
    version = store.read(BRANCH)
    material = read_material(version)
    return commit_marks(
        store,
        version,
        material,
        evaluate_material(material, Settings(confidence=0.2)),
        branch=BRANCH,
        op_id="marks",
        message="Evaluate",
        project=PROJECT,
    )


def _commit(
    store: Store, what: str, *, taxonomy: Taxonomy | None = None, assets: Any = (), **layers: Any
) -> Commit:
    with store.edit(
        BRANCH,
        op_id=hashlib.sha256(what.encode()).hexdigest(),
        operation=Operation(kind="import"),
        message=what,
        project=PROJECT,
    ) as edit:
        if taxonomy is not None:
            edit.put_taxonomy(taxonomy)
        if assets:
            edit.put_assets(pa.Table.from_pylist(list(assets), schema=ASSETS))
        for name, (schema, rows, covered) in layers.items():
            table = pa.Table.from_pylist(rows, schema=schema)
            edit.put_layer(name, table, assets=pa.array(covered, ASSET_ID))
    return edit.commit


def _asset(n: int, asset_id: bytes, content: bytes) -> dict[str, Any]:
    return {
        "asset_id": asset_id,
        "media_type": "image/png",
        "width": SIDE,
        "height": SIDE,
        "channels": 3,
        "byte_size": len(content),
        "orientation": 1,
        "source_names": [f"{HOSTILE}{n}.png"],
        "split": ("train", "val", "test", None)[n % 4],
        "attributes": [("weather", "rain" if n % 2 else "sun"), *([("dark", "")] * (n % 5 == 0))],
        "added_at": datetime(2026, 1, 1, tzinfo=UTC),
        "ymir_sha1": hashlib.sha1(content, usedforsecurity=False).digest(),
    }


def _box(made: Street, n: int, number: int, name: str, x: float, side: float) -> dict[str, Any]:
    return {
        "asset_id": made.asset_ids[n],
        "annotation_id": number,
        "class_id": made.classes[name],
        "kind": "box",
        "x": x,
        "y": 20.0,
        "w": side,
        "h": side,
        "tags": [("by", HOSTILE)] if n % 6 == 0 else [],
    }


def truths(made: Street, n: int) -> list[dict[str, Any]]:
    rows = [_box(made, n, 1, "car", 10.0, 30.0)] if n % 10 else []
    if n % 3 == 0:
        rows.append(_box(made, n, 2, "sign", 60.0, 10.0 + n % 8))
    if n % 7 == 0:
        rows.append(_box(made, n, 3, "road", 0.0, 48.0) | {"kind": "mask", "rle": half_mask()})
    if n % 11 == 0:
        rows.append(
            _box(made, n, 4, HOSTILE, 5.0, 20.0)
            | {"kind": "polygon", "polygon": [[5.0, 20.0, 25.0, 20.0, 15.0, 40.0]]}
        )
    return rows


def predictions(made: Street, n: int) -> list[dict[str, Any]]:
    rows = [_box(made, n, 1, "car", 11.0, 30.0) | {"confidence": 0.5 + n / 200}] if n % 10 else []
    if n % 4 == 0:
        rows.append(_box(made, n, 2, "person", 70.0, 12.0) | {"confidence": 0.3})
    return rows


def half_mask() -> bytes:
    """The left half of an image."""
    bitmap = np.zeros((SIDE, SIDE), bool)
    bitmap[:, : SIDE // 2] = True
    text: bytes = rle.write_runs(rle.runs_of([rle.from_bitmap(bitmap)]))[0].as_py()
    return text


def _scores(made: Street) -> Iterator[dict[str, Any]]:
    for n, asset_id in enumerate(made.asset_ids):
        rank = 99 - n if n >= 90 else None
        yield {
            "asset_id": asset_id,
            "score": n / 100,
            "rank": rank,
            "reason": f"uncertain about {HOSTILE}" if n % 2 else "drawn",
            "components": [("arm_mined", 1.0)] if n % 2 else [("arm_random", 1.0)],
        }


def write_digits(folder: Path, count: int = 450) -> Street:
    """Handwritten digits on many images, a model that errs now and then, and a correction."""
    store = Store.open((folder / "store").as_uri(), create=True)
    scenes = {
        hashlib.sha256(scene.content).digest(): scene
        for scene in compose("training", count, seed=1, size=160)
    }
    ids = sorted(scenes)
    store.put_blobs([scenes[one].content for one in ids])
    names = {box.class_name for scene in scenes.values() for box in scene.boxes}
    classes = store.register_classes(sorted(names))
    several = (n for n, one in enumerate(ids) if len({b.class_name for b in scenes[one].boxes}) > 1)
    made = Street(store, ids, [], classes, corrected=next(several))
    for commit in _digit_commits(made, scenes):
        made.versions.append(commit.id)
    return made


def _digit_commits(made: Street, scenes: Mapping[bytes, Scene]) -> Iterator[Commit]:
    ids, known, dice = made.asset_ids, made.classes, np.random.default_rng(0)
    boxes = [
        {
            "asset_id": one,
            "annotation_id": number,
            "class_id": known[box.class_name],
            "kind": "box",
            **dict(zip("xywh", map(float, box[1:]), strict=True)),
        }
        for one in ids
        for number, box in enumerate(scenes[one].boxes)
    ]
    facts = []
    for number, one in enumerate(ids):
        row = _asset(number, one, scenes[one].content)
        media = "image/png" if scenes[one].name.endswith("png") else "image/jpeg"
        names = {"source_names": [scenes[one].name], "width": 160, "height": 160}
        facts.append(row | names | {"media_type": media})
    yield _commit(
        made.store,
        "Import digits",
        taxonomy=Taxonomy(tuple(ClassName(id_, name) for name, id_ in known.items())),
        assets=facts,
        ground_truth=(GROUND_TRUTH, boxes, ids),
    )
    found = [
        box
        | {
            "x": box["x"] + float(dice.normal(0, 1.5)),
            "class_id": box["class_id"]
            if dice.random() < 0.85
            else (box["class_id"] + 1) % len(known),
            "confidence": float(dice.uniform(0.3, 1)),
        }
        for box in boxes
        if dice.random() < 0.9
    ]
    yield _commit(made.store, "Predict", **{MODEL: (PREDICTIONS, found, ids)})
    yield _marks(made.store)
    wrong = ids[made.corrected]
    right = [box | {"class_id": known["seven"]} for box in boxes if box["asset_id"] == wrong]
    yield _commit(made.store, "Correct a label", ground_truth=(GROUND_TRUTH, right, [wrong]))
