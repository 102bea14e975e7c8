"""A scripted annotator: labels at a real Label Studio, through its API, what it knows is right."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from mir_ops.demo.stage import ORACLE
from mir_ops.errors import MirError
from mir_ops.labeling.studio_client import StudioClient
from mir_ops.labeling.studio_regions import Frame, write_region
from mir_ops.store import Store, Version
from mir_ops.store.schema import ASSET_ID

if TYPE_CHECKING:
    from mir_ops.demo.label_studio import LocalLabelStudio

_PAUSE_SECONDS: Final = 0.5
_LEAD_SECONDS: Final = 8.0  # what a person would take for an image, about
_OPEN: Final = {
    "filters": {
        "conjunction": "and",
        "items": [
            {
                "filter": "filter:tasks:total_annotations",
                "operator": "equal",
                "type": "Number",
                "value": 0,
            }
        ],
    }
}


class ScriptedAnnotator:
    """Submits an answer for every open task of the server, while the block lasts."""

    def __init__(self, studio: LocalLabelStudio, *, oracle_url: str) -> None:
        self._studio = studio
        self._oracle_url = oracle_url
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> ScriptedAnnotator:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()

    @cached_property
    def _truth(self) -> Version:
        return Store.open(self._oracle_url).read(ORACLE)

    def _work(self) -> None:
        with StudioClient(self._studio.url, self._studio.login["token"]) as client:
            while not self._ended.wait(_PAUSE_SECONDS):
                try:
                    for project in client.get("/api/projects/", include="id")["results"]:
                        self._label(client, int(project["id"]))
                except MirError:
                    continue  # the server is about to start, or to end

    def _label(self, client: StudioClient, project: int) -> None:
        for task in client.tasks(project, "id,data", query=_OPEN):
            if self._ended.is_set():
                return
            body = {
                "result": self._regions(task["data"]["asset_id"]),
                "lead_time": _LEAD_SECONDS,
                "unique_id": secrets.token_hex(16),
            }
            client.post(f"/api/tasks/{task['id']}/annotations/", body)

    def _regions(self, name: str) -> list[dict[str, Any]]:
        ids = pa.array([bytes.fromhex(name)], ASSET_ID)
        (asset,) = self._truth.assets(ids=ids).to_pylist()
        frame = Frame(row=0, width=asset["width"], height=asset["height"])
        rows = self._truth.layer("ground_truth", ids=ids).to_pylist()
        return [self._region(row, frame) for row in rows]

    def _region(self, row: Mapping[str, Any], frame: Frame) -> dict[str, Any]:
        label = self._truth.taxonomy.name_of(row["class_id"])
        region = write_region({**row, "confidence": None}, label, frame, shapes=("box",))
        return {key: value for key, value in region.items() if key != "score"}
