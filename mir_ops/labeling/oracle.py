"""The oracle: answers from a held-back ground truth, in a store of its own. For demos and tests."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.labeling.backend import LabelProgress, LabelRequest, LabelResult
from mir_ops.store import Store, Version
from mir_ops.store.schema import ASSET_ID, GROUND_TRUTH

_TASK: Final = re.compile(r"oracle-([0-9a-f]{64})")


@dataclass(frozen=True, kw_only=True)
class OracleBackend:
    """`store_url` is never the project's own store: only the label tasks know it."""

    store_url: str
    rev: str
    access_key: str | None = None
    secret_key: str | None = None

    @property
    def kind(self) -> str:
        return "oracle"

    def __repr__(self) -> str:
        return "OracleBackend()"

    def create(self, request: LabelRequest) -> str:
        asked = {
            "key": request.key,
            "assets": request.asset_ids,
        }
        return f"oracle-{self._store.put_blob(json.dumps(asked, sort_keys=True).encode())}"

    def progress(self, task_id: str) -> LabelProgress:
        asked, known = self._asked(task_id)
        done = int(pc.sum(known).as_py() or 0)
        return LabelProgress(total=len(asked["assets"]), done=done, skipped=len(known) - done)

    def fetch(self, task_id: str, request: LabelRequest) -> LabelResult:
        asked, known = self._asked(task_id)
        ids = pa.array([bytes.fromhex(asset) for asset in asked["assets"]], ASSET_ID)
        done = ids.filter(known)
        truth = self._version.layer("ground_truth", ids=done)
        annotations, dropped = _with_class_ids(truth, self._version, request.classes)
        return LabelResult(
            annotations=annotations,
            done=done,
            skipped=ids.filter(pc.invert(known)),
            issues={"unknown-class": dropped} if dropped else {},
        )

    def close(self, task_id: str) -> None:
        self._asked(task_id)

    @cached_property
    def _store(self) -> Store:
        return Store.open(self.store_url, access_key=self.access_key, secret_key=self.secret_key)

    @cached_property
    def _version(self) -> Version:
        return self._store.read(self.rev)

    def _asked(self, task_id: str) -> tuple[dict[str, Any], pa.Array]:
        """The request, and for each of its assets whether the oracle knows it."""
        match = _TASK.fullmatch(task_id)
        if match is None or not self._store.has_blobs([match[1]]):
            raise NotFoundError(f"The oracle has no task `{task_id}`", code="no-such-label-task")
        asked = json.loads(self._store.get_blob(match[1]))
        ids = pa.array([bytes.fromhex(asset) for asset in asked["assets"]], ASSET_ID)
        labelled = self._version.layer_assets("ground_truth")
        return asked, pc.is_in(ids, value_set=labelled)


def open_oracle(options: Mapping[str, Any]) -> OracleBackend:
    known = {"store_url", "rev", "access_key", "secret_key"}
    missing, unknown = {"store_url", "rev"} - set(options), set(options) - known
    if missing or unknown:
        named = ", ".join(f"`{key}`" for key in sorted(missing or unknown))
        raise InvalidInputError(
            f"The oracle's options {'lack' if missing else 'do not include'} {named}",
            code="invalid-label-options",
            hint="Give `store_url` and `rev`, and its keys if it needs any",
        )
    return OracleBackend(**dict(options))


def _with_class_ids(
    truth: pa.Table, version: Version, classes: Mapping[int, str]
) -> tuple[pa.Table, int]:
    """Two stores number classes differently: names carry over, what nobody asked for is dropped."""
    theirs = {version.taxonomy.id_of(name): id_ for id_, name in classes.items()}
    theirs.pop(None, None)
    pairs = sorted((their, our) for their, our in theirs.items() if their is not None)
    index = pc.index_in(
        truth["class_id"], value_set=pa.array([pair[0] for pair in pairs], pa.int32())
    )
    kept = truth.set_column(
        truth.schema.get_field_index("class_id"),
        GROUND_TRUTH.field("class_id"),
        pa.chunked_array(
            [
                pa.array([pair[1] for pair in pairs], pa.int32()).take(
                    index.combine_chunks() if isinstance(index, pa.ChunkedArray) else index
                )
            ]
        ),
    ).filter(pc.is_valid(index))
    oracle = pa.array(["oracle"] * kept.num_rows, pa.string())
    position = kept.schema.get_field_index("annotator")
    kept = kept.set_column(position, GROUND_TRUTH.field("annotator"), oracle)
    return kept.cast(GROUND_TRUTH), truth.num_rows - kept.num_rows
