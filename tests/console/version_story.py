"""A project with a history: two versions of training data, one that was drawn from it, a merge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
from console_data import HOSTILE, Client, Shown, write_shown
from PIL import Image, ImageDraw

from mir_ops.catalog import Catalog
from mir_ops.console.app import create_app
from mir_ops.console.sources import Sources
from mir_ops.dataset import Conditions, Sampling, filter_dataset, import_dataset, merge, sample
from mir_ops.dataset.keywords import set_keywords
from mir_ops.store import Commit, Operation, Store

KEY = "digits"
HOME = f"/projects/{KEY}/versions"
API = f"/api/v1/projects/{KEY}"


@dataclass(frozen=True, kw_only=True)
class Story:
    """`first` and `second` are versions of `digits/training`; `drawn` of a part, `merged` of both.

    From `first` to `second`: image 0 left, the box of image 1 moved, image 2 went from train to
    val, image 3 lost its label's box.
    """

    shown: Shown
    second: Commit
    drawn: Commit
    merged: Commit
    shared: Path
    catalog: Catalog

    @property
    def first(self) -> Commit:
        return self.shown.commit

    def sources(self) -> Sources:
        return Sources(self.shown.store, self.catalog, sharing_dir=self.shared)

    def ask(self, *rights: str, runs: Any = None) -> Asking:
        """Somebody with these rights; all of them when none is named."""
        sources = self.sources()
        app = create_app(
            lambda: sources,
            may=lambda _request, action, _project: not rights or action in rights,
            open_runs=(lambda _request: runs) if runs else None,
        )
        return Asking(app)


class Asking(Client):
    """Also sends."""

    def send(
        self, method: str, path: str, body: Mapping[str, Any] | bytes | None = None
    ) -> httpx.Response:
        import asyncio

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
                if isinstance(body, bytes):
                    kind = {"Content-Type": "application/octet-stream"}
                    return await client.request(method, path, content=body, headers=kind)
                return await client.request(method, path, json=body)

        return asyncio.run(ask())


def write_story(folder: Path) -> Story:
    shown = write_shown(folder)
    store, ids = shown.store, shown.asset_ids
    second = _change(shown, ids)
    drawn = sample(
        store,
        "digits/training",
        "digits/night/drawn",
        Sampling(count=20, seed=3),
        op_id="drawn",
        message="Draw twenty",
        project=KEY,
    )
    merged = merge(
        store,
        ["tr:digits/training", "digits/night/drawn"],
        "digits/all",
        strategy="host",
        op_id="merged",
        message=f"Merge {HOSTILE}",
        project=KEY,
    )
    store.create_tag(f"digits/training@{'first'}", shown.commit.id)
    shared = folder / "sharing"
    shared.mkdir()
    return Story(
        shown=shown,
        second=second,
        drawn=drawn,
        merged=merged,
        shared=shared,
        catalog=Catalog.open(f"sqlite:///{folder / 'catalog.db'}"),
    )


def _change(shown: Shown, ids: list[bytes]) -> Commit:
    version = shown.store.read("digits/training")
    boxes = version.layer("ground_truth", ids=[ids[1]])
    moved = boxes.set_column(
        boxes.column_names.index("x"), "x", pa.array(np.float32(boxes["x"].to_numpy() + 5))
    )
    asset = version.assets(ids=[ids[2]])
    to_val = asset.set_column(asset.column_names.index("split"), "split", pa.array(["val"]))
    with shown.store.edit(
        "digits/training",
        op_id="second",
        operation=Operation(kind="relabel", inputs=(version.id,), parameters={"by": HOSTILE}),
        message="Look again",
        project=KEY,
        keywords=["night", HOSTILE],
    ) as edit:
        edit.remove_assets([ids[0]])
        edit.put_layer("ground_truth", moved)
        edit.put_assets(to_val)
        edit.put_layer("ground_truth", boxes.slice(0, 0), assets=[ids[3]])
    return edit.commit


def write_street(folder: Path) -> Sources:
    """A project as people have it: two imports, labels looked at again, the rainy part, a merge."""
    store = Store.open((folder / "store").as_uri(), create=True)
    imports = (
        ("training", 36, "train", "Ring road, May"),
        ("training", 14, "val", "Old town, at night"),
        ("bridges", 12, "test", "Bridges"),
    )
    first = 0
    for number, (dataset, count, split, message) in enumerate(imports):
        files = folder / f"import-{number}"
        _write_scenes(files, first, count)
        first += count
        (files / "images" / "broken.jpg").write_bytes(b"no picture")
        import_dataset(
            store,
            files,
            f"street/{dataset}",
            op_id=f"import-{number}",
            unknown_classes="add",
            split=split,
            message=message,
            project="street",
        )
    tip = store.branch("street/training").tip()
    set_keywords(store, "street/training", ["night", "checked"], op_id="keywords")
    near = Conditions(include_classes=("person",))
    filter_dataset(
        store, tip.id, "street/people", near, op_id="people", message="Who walks", project="street"
    )
    _look_again(store)
    merge(
        store,
        ["street/training", "street/bridges"],
        "street/release",
        strategy="host",
        op_id="release",
        message="For the first release",
        project="street",
    )
    store.create_tag("street/release@r1", store.resolve("street/release").id)
    return Sources(store, Catalog.open(f"sqlite:///{folder / 'catalog.db'}"))


def _write_scenes(folder: Path, first: int, count: int) -> None:
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    (folder / "labels" / "classes.txt").write_text("car\nperson\nsign\n")
    for number in range(first, first + count):
        dice = np.random.default_rng(number)
        scene, lines = _scene(dice)
        scene.save(folder / "images" / f"frame-{number:03}.jpg", quality=88)
        (folder / "labels" / f"frame-{number:03}.txt").write_text("".join(lines))


def _scene(dice: np.random.Generator) -> tuple[Image.Image, list[str]]:
    width, height = 320, 240
    sky, road = (int(dice.integers(120, 220)) for _ in range(2))
    scene = Image.new("RGB", (width, height), (sky - 60, sky - 20, sky))
    brush = ImageDraw.Draw(scene)
    brush.rectangle((0, 130, width, height), fill=(road // 2, road // 2, road // 2 + 8))
    lines = []
    sizes = ((70, 40), (18, 46), (20, 20))
    for kind in dice.choice(3, int(dice.integers(1, 6)), p=[0.6, 0.25, 0.15]).tolist():
        w, h = (side * dice.uniform(0.7, 1.3) for side in sizes[kind])
        x, y = dice.uniform(2, width - w - 2), dice.uniform(90 if kind < 2 else 30, 190 - h / 2)
        h = min(h, height - y - 2)
        fill = tuple(dice.integers(30, 230, 3).tolist())
        shape = brush.ellipse if kind == 2 else brush.rectangle
        shape((x, y, x + w, y + h), fill=fill, outline=(20, 20, 20))
        middle = ((x + w / 2) / width, (y + h / 2) / height, w / width, h / height)
        lines.append(f"{kind} " + " ".join(f"{number:.6f}" for number in middle) + "\n")
    return scene, lines


def _look_again(store: Store) -> None:
    """Of twelve images: boxes moved, one taken away, one more."""
    version = store.read("street/training")
    ids = version.layer_assets("ground_truth").slice(0, 12)
    rows = version.layer("ground_truth", ids=ids).to_pylist()
    seen: set[bytes] = set()
    kept = []
    for number, row in enumerate(rows):
        if number % 4 == 1:
            continue
        moved = {"x": row["x"] + 6, "y": row["y"] - 4} if number % 4 == 2 else {}
        kept.append({**row, **moved})
        if row["asset_id"] not in seen:
            seen.add(row["asset_id"])
            more = {"annotation_id": 7, "x": 130.0, "y": 100.0, "w": 34.0, "h": 30.0}
            kept.append({**row, **more})
    kept.sort(key=lambda row: (row["asset_id"], row["annotation_id"]))
    table = pa.Table.from_pylist(kept, schema=version.layer("ground_truth").schema)
    with store.edit(
        "street/training",
        op_id="again",
        operation=Operation(kind="relabel", inputs=(version.id,)),
        message="Twelve images looked at again",
        project="street",
    ) as edit:
        edit.put_layer("ground_truth", table, assets=ids)
