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

from mir_ops.catalog import Catalog
from mir_ops.console.app import create_app
from mir_ops.console.sources import Sources
from mir_ops.dataset import Sampling, merge, sample
from mir_ops.store import Commit, Operation

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
