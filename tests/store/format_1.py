"""What the store under tests/data/format-1 holds, and how it was written.

It was written once, by the first version of the format, and is never written again: what this
module writes today may have other bytes. `python tests/store/format_1.py FOLDER` writes one.
"""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from pictures import commit_pictures, ids_of, picture
from sample_tables import OPERATION, asset_rows, box_rows

from mir_ops.store import Operation, Store, Version
from mir_ops.taxonomy import ClassName, Taxonomy

BRANCHES = ("p/compacted", "p/labels", "p/merged", "p/training")


def write(folder: Path) -> Store:
    """Every kind of object, table and row that the format has."""
    store = Store.open(folder.as_uri(), create=True)
    store.register_classes(["cat", "dog"])
    commit_pictures(store, "p/training", range(6))
    _label(store)
    _predict(store)
    store.create_tag("p/training@first", store.resolve("p/training@V1").id)
    commit_pictures(store, "p/labels", range(4, 8))
    commit_pictures(store, "p/gone", range(8, 9))
    store.branch("p/gone").delete()
    host, guest = store.read("p/training"), store.read("p/labels")
    store.merge(
        "p/merged",
        host,
        [guest],
        op_id="merge",
        operation=Operation(kind="merge", parameters={"strategy": "guest"}, seed=-7),
        message="Merge",
        strategy="guest",
        splits=["train", "val"],
    )
    commit_pictures(store, "p/compacted", range(4))
    commit_pictures(store, "p/compacted", range(2, 6))
    store.compact("p/compacted", op_id="compact")
    return store


def _label(store: Store) -> None:
    ids = ids_of([picture(number) for number in range(6)])
    polygon = pa.array([[[0.0, 0.0, 4.0, 0.0, 4.0, 4.0]]], pa.list_(pa.list_(pa.float32())))
    rows = box_rows(ids[:1], class_id=1).append_column("polygon", polygon)
    classes = (ClassName(id=0, name="cat", aliases=("kitten",)), ClassName(id=1, name="dog"))
    with store.edit(
        "p/training",
        op_id="label",
        operation=Operation(kind="label", parameters={"who": "Ä"}, executor="sha256:ab"),
        message="Label\nin two lines",
        project="p",
        round=1,
        run="run-1",
        keywords=["first"],
    ) as edit:
        edit.put_layer("ground_truth", rows, assets=ids[:2])  # the second: nothing is there
        edit.remove_assets(ids[5:])
        edit.put_taxonomy(Taxonomy(classes=classes))


def _predict(store: Store) -> None:
    ids = ids_of([picture(number) for number in range(6)])[:2]
    vectors = pa.FixedSizeListArray.from_arrays(pa.array([0.5, 1.5, -1.0, 2.0], pa.float32()), 2)
    shares = pa.array([[(0, 0.25), (1, 0.75)]] * 2, pa.map_(pa.int32(), pa.float32()))
    boxes = box_rows(ids, class_id=1).append_column("confidence", pa.array([0.5, 0.75]))
    with store.edit("p/training", op_id="predict", operation=OPERATION, message="Infer") as edit:
        edit.put_layer("predictions:m", boxes.append_column("class_probs", shares))
        edit.put_layer("scores:s", pa.table({"asset_id": ids, "score": [0.1, 0.9], "rank": [1, 0]}))
        edit.put_layer("embeddings:m", pa.table({"asset_id": ids, "vector": vectors}))
        edit.put_assets(asset_rows(ids, "test"))


def describe(store: Store) -> dict[str, Any]:
    """All that a reader sees, as plain JSON."""
    return {
        "branches": {
            branch.name: [_commit(store, commit.id) for commit in branch.log()]
            for branch in store.branches()
        },
        "tags": store.tags(),
        "classes": store.classes(),
    }


def _commit(store: Store, commit_id: str) -> dict[str, Any]:
    version = store.read(store.commit(commit_id))
    commit = version.commit
    return {
        "id": commit.id,
        "parents": list(commit.parents),
        "operation": [
            commit.op_id,
            commit.operation.kind,
            dict(commit.operation.parameters),
            commit.operation.executor,
            commit.operation.seed,
        ],
        "where": [commit.project, commit.round, commit.run],
        "message": commit.message,
        "keywords": list(commit.keywords),
        "created_at": commit.created_at.isoformat(),
        "equivalent_to": commit.equivalent_to,
        "classes": [[one.id, one.name, list(one.aliases)] for one in version.taxonomy.classes],
        "assets": _rows(version.assets()),
        "layers": {name: _layer(version, name) for name in version.layers()},
    }


def _layer(version: Version, name: str) -> dict[str, Any]:
    covered = [value.hex() for value in version.layer_assets(name).to_pylist()]
    return {"covered": covered, "rows": _rows(version.layer(name))}


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    """Without nulls: a later version may know more columns."""
    return [
        {name: _plain(value) for name, value in row.items() if value is not None}
        for row in table.to_pylist()
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def main(folder: Path) -> None:
    import json

    store = write(folder / "store")
    for lock in (folder / "store").rglob(".*"):
        lock.unlink()
    text = json.dumps(describe(store), indent=1, sort_keys=True, ensure_ascii=False)
    (folder / "content.json").write_text(text + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
