"""How other programs read a version: SQL for DuckDB, Python for Polars, over the same files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa

from mir_ops.store.manifests import Segment, TableSegments
from mir_ops.store.objects import ObjectStore
from mir_ops.store.versions import Version

_POLARS: Final = '''\
import polars as pl
{options}

def map_of(key, value):
    """Maps have a type of their own since Polars 2."""
    old = pl.List(pl.Struct({{"key": key, "value": value}}))
    return pl.Map(key, value) if hasattr(pl, "Map") else old


def table(schema, base, *deltas):
    """The rows of a table; the newest part that names an asset decides all of its rows."""
    parts = [  # a file lacks the columns that have no value in it
        pl.scan_parquet(file{storage}).with_columns(age=pl.lit(age))
        for age, files in enumerate([base, *deltas])
        for file in files
    ]
    rows = pl.concat([pl.LazyFrame(schema=schema), *parts], how="diagonal_relaxed")
    newest = rows.group_by("asset_id").agg(pl.col("age").max())
    current = rows.join(newest, on=["asset_id", "age"]).filter(pl.col("row_state") == 0)
    return current.drop("row_state", "age")


tables = {{
{tables}
}}
'''

_TYPES: Final = {  # of Arrow: in DuckDB, in Polars
    "bool": ("boolean", "Boolean"),
    "double": ("double", "Float64"),
    "fixed_size_binary": ("blob", "Binary"),
    "binary": ("blob", "Binary"),
    "float": ("float", "Float32"),
    "int8": ("tinyint", "Int8"),
    "int32": ("integer", "Int32"),
    "int64": ("bigint", "Int64"),
    "string": ("varchar", "String"),
    "timestamp": ("timestamptz", 'Datetime("us", "UTC")'),
    "uint64": ("ubigint", "UInt64"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedView:
    """Text to run: `duckdb` makes a view for each table, `polars` a dict of lazy frames.

    `duckdb_setup` is what DuckDB needs to reach a bucket, with places for the keys.
    """

    commit: str
    duckdb_setup: str
    duckdb: str
    polars: str


def export_view(version: Version) -> ExportedView:
    """How to read a version without this library. What is printed holds no credentials."""
    return ExportedView(
        commit=version.id,
        duckdb_setup=_setup(version.objects),
        duckdb=_duckdb(version),
        polars=_polars(version),
    )


def _duckdb(version: Version) -> str:
    statements = [f"-- dataset version {version.id}"]
    for name, table in sorted(version.manifest.tables.items()):
        statements.append(
            f"create or replace view {_identifier(name)} as\n{_select(version, name, table)};"
        )
    return "\n".join(statements) + "\n"


def _select(version: Version, name: str, table: TableSegments) -> str:
    """A file lacks the columns without a value in it: an empty relation names and types all."""
    columns = [
        f"null::{_duckdb_type(f.type)} as {_identifier(f.name)}" for f in _columns(version, name)
    ]
    selects = [f"  select {', '.join(columns)}, 0 as age where false"]
    for age, part in enumerate([table.base, *((delta,) for delta in table.deltas)]):
        if part:
            files = ",\n    ".join(_text(path) for path in _paths(version.objects, part))
            read = f"read_parquet([{files}], union_by_name = true)"
            selects.append(f"  select *, {age} as age from {read}")
    parts = "\n  union all by name\n".join(selects)
    if not table.deltas:
        return f"select * exclude (row_state, age) from (\n{parts}\n) where row_state = 0"
    return (
        f"with parts as (\n{parts}\n),\n"
        "newest as (select asset_id, max(age) as age from parts group by asset_id)\n"
        "select parts.* exclude (row_state, age)\n"
        "from parts join newest using (asset_id, age)\n"
        "where row_state = 0"
    )


def _polars(version: Version) -> str:
    objects = version.objects
    lines = []
    for name, table in sorted(version.manifest.tables.items()):
        parts = [_paths(objects, part) for part in (table.base, *((one,) for one in table.deltas))]
        types = [f"{json.dumps(f.name)}: {_polars_type(f.type)}" for f in _columns(version, name)]
        arguments = [f"{{{', '.join(types)}}}", *(json.dumps(part) for part in parts)]
        joined = "".join(f"\n        {argument}," for argument in arguments)
        lines.append(f"    {json.dumps(name)}: table({joined}\n    ),")
    options = _polars_options(objects)
    return _POLARS.format(
        options=f"\noptions = {json.dumps(options)}  # without keys: from the environment\n"
        if options
        else "",
        storage=", storage_options=options" if options else "",
        tables="\n".join(lines),
    )


def _columns(version: Version, name: str) -> pa.Schema:
    """The columns that we read, and the state."""
    from mir_ops.store import rows, segments

    like = segments.read_schema(version.objects, version.table(name).all[0])
    return rows.schema_of(name, like).append(pa.field(rows.STATE, pa.int8()))


def _duckdb_type(kind: pa.DataType) -> str:
    if pa.types.is_map(kind):
        return f"map({_duckdb_type(kind.key_type)}, {_duckdb_type(kind.item_type)})"
    if pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind):
        return f"{_duckdb_type(kind.value_type)}[]"
    return _TYPES[str(kind).partition("[")[0]][0]


def _polars_type(kind: pa.DataType) -> str:
    if pa.types.is_map(kind):
        return f"map_of({_polars_type(kind.key_type)}, {_polars_type(kind.item_type)})"
    if pa.types.is_fixed_size_list(kind):
        return f"pl.Array({_polars_type(kind.value_type)}, {kind.list_size})"
    if pa.types.is_list(kind):
        return f"pl.List({_polars_type(kind.value_type)})"
    return f"pl.{_TYPES[str(kind).partition('[')[0]][1]}"


def _paths(objects: ObjectStore, segments: Sequence[Segment]) -> list[str]:
    return [_path(objects, segment.key) for segment in segments]


def _path(objects: ObjectStore, key: str) -> str:
    path = objects.local_path(key)
    if path is not None:
        return str(path)
    parts = urlsplit(objects.url)
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}/{key}"


def _setup(objects: ObjectStore) -> str:
    """What DuckDB must know to reach a bucket; a local directory needs nothing."""
    parts = urlsplit(objects.url)
    if parts.scheme != "s3":
        return ""
    endpoint, region = _options(objects)
    options = ["type s3", "key_id 'KEY'", "secret 'SECRET'", f"region {_text(region)}"]
    if endpoint:
        server = urlsplit(endpoint)
        ssl = str(server.scheme == "https").lower()
        options += [f"endpoint {_text(server.netloc)}", "url_style 'path'", f"use_ssl {ssl}"]
    options.append(f"scope {_text(f's3://{parts.netloc}')}")
    return f"install httpfs;\nload httpfs;\ncreate or replace secret ({', '.join(options)});\n"


def _polars_options(objects: ObjectStore) -> dict[str, str]:
    if urlsplit(objects.url).scheme != "s3":
        return {}
    endpoint, region = _options(objects)
    options = {"aws_region": region}
    if endpoint:
        options["aws_endpoint_url"] = endpoint
        if endpoint.startswith("http:"):
            options["aws_allow_http"] = "true"
    return options


def _options(objects: ObjectStore) -> tuple[str, str]:
    query = parse_qs(urlsplit(objects.url).query)
    return query.get("endpoint_url", [""])[0], query.get("region", ["us-east-1"])[0]


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
