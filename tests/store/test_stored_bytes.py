from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from sample_tables import OPERATION, asset_ids, asset_rows, box_rows, commit_assets

from mir_ops.errors import MirError, StoreError
from mir_ops.proto import store_pb2
from mir_ops.store import Commit, LayerStats, Operation, Stats, Store, keys, wire
from mir_ops.store.commits import read_commit, write_commit
from mir_ops.store.manifests import (
    Manifest,
    Segment,
    TableSegments,
    read_manifest,
    read_taxonomy,
    write_manifest,
    write_taxonomy,
)
from mir_ops.store.objects import MemoryObjects
from mir_ops.taxonomy import ClassName, Taxonomy

COMMIT = Commit(
    id="",
    parents=("11" * 32, "22" * 32),
    manifest="33" * 32,
    generation=7,
    op_id="op",
    operation=Operation(
        kind="train",
        parameters={"b": [1, 2.5, None], "a": "ü"},
        inputs=("44" * 32,),
        executor="sha256:55",
        seed=-3,
        code_version="0.1.0",
    ),
    project="digits",
    round="2",
    run="run",
    author="ada",
    message="Train",
    created_at=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    keywords=("one", ""),
    stats=Stats(
        assets=3,
        splits={"": 1, "train": 2},
        layers={
            "ground_truth": LayerStats(
                assets=2, rows=5, classes={0: 4, 300: 1}, class_assets={0: 2, 300: 1}
            )
        },
    ),
    equivalent_to="66" * 32,
)
SEGMENT = Segment(
    id="77" * 32,
    byte_size=1234,
    rows=10,
    assets=4,
    markers=1,
    tombstones=2,
    min_key=1,
    max_key=2**64 - 1,
)
MANIFEST = Manifest(
    tables={
        "ground_truth": TableSegments(base=(SEGMENT,)),
        "assets": TableSegments(base=(SEGMENT,), deltas=(replace(SEGMENT, sidecar="88" * 32),)),
    },
    taxonomy="99" * 32,
)
TAXONOMY = Taxonomy((ClassName(2, "dog"), ClassName(0, "cat", ("kitten", "kitty"))))


def test_ids_never_change() -> None:
    # Another id here means that every stored history would be unreadable: raise wire.VERSION.
    objects = MemoryObjects()

    assert (
        write_commit(objects, COMMIT).id
        == "1209499b1e594af1f58a3cb6b61dae1b286613fc6e4ada707518654c9d5e9889"
    )
    assert (
        write_manifest(objects, MANIFEST)
        == "c43ae9a684f8ac2ef35662fb1d080a2d3598ef61ec3f84222f9b12c20fb5d38a"
    )
    assert (
        write_taxonomy(objects, TAXONOMY)
        == "fc94ff193163abdeb1a5e4c0acab04640ac446c1615b9f9cb542f5d55c6c9d39"
    )


def test_objects_are_read_as_they_were_written() -> None:
    objects = MemoryObjects()
    commit = write_commit(objects, COMMIT)

    assert read_commit(objects, commit.id) == commit
    assert read_manifest(objects, write_manifest(objects, MANIFEST)) == MANIFEST
    assert read_taxonomy(objects, write_taxonomy(objects, TAXONOMY)) == TAXONOMY


def test_our_writer_and_protobuf_agree_on_the_bytes() -> None:
    objects = MemoryObjects()
    commit = write_commit(objects, COMMIT)
    stored = objects.find(keys.stored_object(commit.id))
    assert stored is not None

    body = wire.unframe(wire.COMMIT, commit.id, stored)

    assert store_pb2.Commit.FromString(body).SerializeToString(deterministic=True) == body


def test_fields_out_of_order_are_a_mistake() -> None:
    with pytest.raises(AssertionError, match="field 1 after field 2"):
        wire.Message().uint(2, 1).uint(1, 1)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda body: body[:-1] + bytes([body[-1] ^ 1]), ""),
        (lambda body: body[:20], ""),
        (lambda _: b"", "it does not start like an object of this store"),
        (lambda body: body[:4] + b"\x02" + body[5:], "it is of kind 2, expected 1"),
        (lambda body: body[:5] + b"\x09" + body[6:], "its format version is 9"),
    ],
)
def test_damaged_commit_is_named(damage, reason: str) -> None:  # type: ignore[no-untyped-def]
    objects = MemoryObjects()
    commit = write_commit(objects, COMMIT)
    key = keys.stored_object(commit.id)
    stored = objects.find(key)
    assert stored is not None
    objects.delete(key)
    objects.create(key, damage(stored))

    with pytest.raises(StoreError) as caught:
        read_commit(objects, commit.id)

    assert caught.value.code == "corrupt-object"
    assert f"Object `{key}` in `memory:` is corrupt: {reason}" in str(caught.value)


def test_damaged_segment_is_named(store: Store) -> None:
    commit_assets(store, "b", asset_ids(500), boxes=3)
    segment = store.read("b").segments()["ground_truth"][0]
    body = bytearray(store.objects.find(segment.key) or b"")
    body[len(body) // 2] ^= 0xFF
    path = store.objects.local_path(segment.key)
    if path is not None:
        path.write_bytes(bytes(body))
    else:
        store.objects.delete(segment.key)
        store.objects.create(segment.key, bytes(body))

    with pytest.raises(StoreError) as caught:
        store.read("b").layer("ground_truth")

    assert caught.value.code == "corrupt-object"
    assert segment.key in str(caught.value)


def test_equal_rows_make_equal_segments(local_store: Store) -> None:
    ids = asset_ids(50)
    commit_assets(local_store, "one", ids, boxes=2)
    commit_assets(local_store, "two", ids, boxes=2)

    one, two = (local_store.read(name).segments() for name in ("one", "two"))

    assert one == two


def test_duckdb_reads_a_version_without_this_library(local_store: Store) -> None:
    ids = asset_ids(40)
    commit_assets(local_store, "b", ids, boxes=2)
    with local_store.edit("b", op_id="e", operation=OPERATION, message="E") as edit:
        edit.remove_assets(ids[:4])
        edit.put_layer("ground_truth", box_rows(ids[4:6], 3, class_id=5), assets=ids[4:10])
        edit.put_assets(asset_rows(asset_ids(3, seed=3), split="val"))
    version = local_store.read("b")

    for table, expected in (
        ("assets", version.assets()),
        ("ground_truth", version.layer("ground_truth")),
    ):
        found = duckdb.connect().sql(view(local_store, table)).to_arrow_table()
        key = [("asset_id", "ascending")]
        if table != "assets":
            key.append(("annotation_id", "ascending"))
        missing = set(expected.column_names) - set(found.column_names)
        assert all(expected[name].null_count == expected.num_rows for name in missing)
        same = [name for name in expected.column_names if name not in {"tags", *missing}]
        found = found.sort_by(key).select(same)
        assert found.to_pylist() == expected.select(same).to_pylist()


def view(store: Store, table: str) -> str:
    """The SQL of docs/design/001-store-format.md."""
    segments = store.read("b").segments()[table]
    paths = [store.objects.local_path(segment.key) for segment in segments]
    parts = " union all by name ".join(
        f"select *, {index} as age from read_parquet('{path}')" for index, path in enumerate(paths)
    )
    return (
        f"with parts as ({parts}), "
        "newest as (select asset_id, max(age) as age from parts group by asset_id) "
        "select parts.* exclude (row_state, age) from parts "
        "join newest using (asset_id, age) where row_state = 0"
    )


def test_store_of_a_newer_format_is_refused(store: Store) -> None:
    objects = store.objects
    seen = objects.find_versioned(keys.FEATURES)
    objects.swap(keys.FEATURES, bytes(wire.Message().uint(1, 2).uint(2, 2)), seen)

    with pytest.raises(StoreError) as caught:
        Store.on(objects)

    assert caught.value.code == "store-too-new"


def test_place_without_a_store_is_refused(tmp_path: Path) -> None:
    for url in (tmp_path.as_uri(), str(tmp_path / "missing")):
        with pytest.raises(MirError) as caught:
            Store.open(url)
        assert caught.value.code == "no-such-store"
        assert caught.value.hint == "Check the address, or create one with `mir init`"
    assert Store.open(str(tmp_path), create=True).id == Store.open(tmp_path.as_uri()).id


def test_local_address_takes_one_option(tmp_path: Path) -> None:
    assert Store.open(f"{tmp_path.as_uri()}?network=allow", create=True).branches() == []
    with pytest.raises(MirError, match="A local store has no option `colour`"):
        Store.open(f"{tmp_path.as_uri()}?colour=red")


def test_opening_and_logging_need_no_pyarrow(local_store: Store) -> None:
    import subprocess
    import sys

    commit_assets(local_store, "b", asset_ids(2))
    program = (
        "import sys; from mir_ops.store import Store; "
        f"print([c.message for c in Store.open({local_store.url!r}).branch('b').log()]); "
        "print(sorted({'pyarrow', 'numpy', 'boto3'} & set(sys.modules)))"
    )

    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert answer.stdout == "['Add assets']\n[]\n"


def test_schema_of_stored_columns_is_readable_anywhere(local_store: Store) -> None:
    import pyarrow.parquet as pq

    commit_assets(local_store, "b", asset_ids(2), boxes=1)
    path = local_store.objects.local_path(local_store.read("b").segments()["ground_truth"][0].key)

    names = pq.read_schema(path).names

    assert names[:3] == ["asset_id", "annotation_id", "class_id"]
    assert names[-1] == "row_state"
    assert pq.read_schema(path).field("asset_id").type == pa.binary(32)
