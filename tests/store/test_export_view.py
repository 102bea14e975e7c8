"""DuckDB and Polars read a version with what is printed, and see the rows that we see."""

from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import duckdb
import fsspec
import pyarrow as pa
import pytest
from sample_tables import OPERATION, asset_ids, asset_rows, box_rows

from mir_ops.store import Store, Version
from mir_ops.store.s3 import S3Objects
from mir_ops.store.schema import ASSETS, GROUND_TRUTH
from mir_ops.store.views import export_view

Rows = Mapping[str, list[tuple[str, ...]]]

_COLUMNS = {
    "assets": ("asset_id", "split", "width", "source_names", "group_id", "added_at"),
    "ground_truth": ("asset_id", "annotation_id", "class_id", "x", "area"),
    'scores:it\'s "odd"': ("asset_id", "score"),
    "embeddings:m": ("asset_id", "vector"),
}
ODD = 'scores:it\'s "odd"'


def changed_version(store: Store) -> Version:
    """Base, deltas, markers, tombstones, and rows that were replaced and brought back."""
    old, new = asset_ids(6), asset_ids(2, seed=1)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array([1.5] * 18, pa.float32()), 3)
    with store.edit("b", op_id="1", operation=OPERATION, message="m") as edit:
        edit.put_assets(asset_rows(old, "train"))
        edit.put_layer("ground_truth", box_rows(old, each=2), assets=old)
        edit.put_layer(ODD, pa.table({"asset_id": old, "score": [0.5] * 6}))
        edit.put_layer("embeddings:m", pa.table({"asset_id": old, "vector": vectors}))
    with store.edit("b", op_id="2", operation=OPERATION, message="m") as edit:
        edit.put_assets(asset_rows(new, "val"))
        edit.put_layer("ground_truth", box_rows(old[:1], class_id=7), assets=old[:2])
        edit.remove_assets(old[4:])
    with store.edit("b", op_id="3", operation=OPERATION, message="m") as edit:
        edit.put_assets(asset_rows(old[4:5], None))
        edit.put_layer("ground_truth", box_rows(old[:1], each=3, x=9.0), assets=old[:1])
    return store.read("b")


def expected(version: Version) -> Rows:
    found = {"assets": version.assets()} | {name: version.layer(name) for name in version.layers()}
    return {name: plain(table.to_pylist(), _COLUMNS[name]) for name, table in found.items()}


def plain(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> list[tuple[str, ...]]:
    return sorted(tuple(repr(_value(row[column])) for column in columns) for row in rows)


def _value(value: object) -> object:
    if isinstance(value, datetime):
        return value.timestamp()
    return list(value) if isinstance(value, tuple | list) else value


def by_duckdb(text: str, connection: duckdb.DuckDBPyConnection) -> Rows:
    connection.execute(text)
    for name, columns in (("assets", ASSETS), ("ground_truth", GROUND_TRUTH)):
        assert sorted(connection.sql(f"from {name}").columns) == sorted(columns.names)
    return {
        name: plain(
            connection.sql(f'select * from "{name.replace(chr(34), chr(34) * 2)}"')
            .to_arrow_table()
            .to_pylist(),
            columns,
        )
        for name, columns in _COLUMNS.items()
    }


def by_polars(text: str) -> Rows:
    names: dict[str, Any] = {}
    exec(compile(text, "printed", "exec"), names)
    tables = names["tables"]
    assert sorted(tables) == sorted(_COLUMNS)
    for name, columns in (("assets", ASSETS), ("ground_truth", GROUND_TRUTH)):
        assert sorted(tables[name].collect_schema()) == sorted(columns.names)
    return {
        name: plain(tables[name].select(columns).collect().to_dicts(), columns)
        for name, columns in _COLUMNS.items()
    }


def test_version_in_a_directory_is_read_by_both(local_store: Store) -> None:
    version = changed_version(local_store)
    view = export_view(version)
    assert view.duckdb_setup == ""
    assert version.stats.assets == 7

    with duckdb.connect() as connection:
        assert by_duckdb(view.duckdb, connection) == expected(version)
    assert by_polars(view.polars) == expected(version)


def test_version_without_deltas_is_read_by_both(local_store: Store) -> None:
    changed_version(local_store)
    first = local_store.read("b@V1")
    view = export_view(first)

    assert "newest" not in view.duckdb
    with duckdb.connect() as connection:
        assert by_duckdb(view.duckdb, connection) == expected(first)
    assert by_polars(view.polars) == expected(first)


class Bucket(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """DuckDB's own S3 client is a download; this lends it ours for the same addresses."""

    protocol = "s3"
    cachable = False

    def __init__(self, objects: S3Objects, prefix: str) -> None:
        super().__init__()
        self._objects, self._below = objects, prefix

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        size = self._objects.size(self._key(path))
        if size is None:
            raise FileNotFoundError(path)
        return {"name": path, "size": size, "type": "file"}

    def modified(self, _: str) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def _open(self, path: str, *_: Any, **__: Any) -> io.BytesIO:
        return io.BytesIO(self._objects.find(self._key(path)) or b"")

    def _key(self, path: str) -> str:
        return str(self._strip_protocol(path)).removeprefix(self._below)


def test_version_in_a_bucket_is_read_by_both(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(s3_url, create=True, access_key="test", secret_key="test")
    version = changed_version(store)
    view = export_view(version)
    place = s3_url.partition("?")[0]
    assert f"'{place}/seg/sha256/" in view.duckdb
    assert "endpoint '127.0.0.1:" in view.duckdb_setup
    assert "test" not in view.duckdb_setup
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")

    assert isinstance(store.objects, S3Objects)
    with duckdb.connect() as connection:
        connection.register_filesystem(Bucket(store.objects, place.removeprefix("s3://") + "/"))
        assert by_duckdb(view.duckdb, connection) == expected(version)
    assert by_polars(view.polars) == expected(version)
