"""Great Expectations, kept behind one function; imported only when a gate runs.

It has no say in the verdict: it counts the rows that break a rule. It would let pass an unknown
rule, an empty table and a missing value; those are refused before it is asked.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.errors import InvalidInputError
from mir_ops.quality.report import Example, Finding
from mir_ops.quality.rule_files import Rule
from mir_ops.quality.tables import Table

_EXAMPLES: Final = 10


def judge(table: Table, rules: Sequence[Rule]) -> list[Finding]:
    """One finding per rule, in their order."""
    library = import_library()
    expectations = [_expectation(library, rule) for rule in rules]
    if table.rows.num_rows == 0:
        return [_unjudged(rule, "the table is empty") for rule in rules]
    columns = {column for rule in rules for column in rule.columns}
    rows = _finite(table.rows.select(sorted(columns)))
    missing = {name: rows.column(name).null_count for name in columns}
    results = _run(library, table.name, rows, expectations)
    return [
        _missing_finding(rule, missing, rows.num_rows) or _finding(rule, results[rule.id], table)
        for rule in rules
    ]


def import_library() -> Any:
    """Great Expectations, which takes seconds to import."""
    # Before the import: it writes two hundred lines at INFO while it loads. This version sends no
    # usage data; the variable keeps an older one from doing so.
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    try:
        import great_expectations
        import pandas  # noqa: F401
    except ImportError as error:
        raise InvalidInputError(
            f"The gate needs a package that is not installed: `{error.name}`",
            code="quality-not-installed",
            hint="Run `pip install 'mir-ops[quality]'`",
        ) from error
    return great_expectations


def _expectation(library: Any, rule: Rule) -> Any:
    """Alone and directly: a suite would drop a rule that it does not understand."""
    try:
        return library.expectations.expectation_configuration.ExpectationConfiguration(
            type=rule.type,
            kwargs=dict(rule.kwargs),
            severity=rule.severity,
            meta={"rule": rule.id},
        ).to_domain_obj()
    except (ValueError, TypeError, library.exceptions.GreatExpectationsError) as error:
        raise InvalidInputError(
            f"{rule.where}: {' '.join(str(error).split())[:300]}",
            code="bad-rule",
            hint="Correct the arguments under `kwargs`",
        ) from error


def _run(library: Any, name: str, rows: pa.Table, expectations: Sequence[Any]) -> Mapping[str, Any]:
    settings = library.data_context.types.base
    # A context of its own for each run: shared between threads it gives wrong counts.
    context = library.get_context(
        mode="ephemeral",
        project_config=settings.DataContextConfig(
            progress_bars={"globally": False},
            store_backend_defaults=settings.InMemoryStoreBackendDefaults(
                init_temp_docs_sites=False
            ),
        ),
    )
    suite = context.suites.add(library.ExpectationSuite(name=name, expectations=list(expectations)))
    source = context.data_sources.add_pandas("memory")
    batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
    outcome = library.ValidationDefinition(name=name, data=batch, suite=suite).run(
        batch_parameters={"dataframe": _frame(rows)},
        result_format={"result_format": "SUMMARY", "partial_unexpected_count": _EXAMPLES},
    )
    results = {result.expectation_config.meta["rule"]: result for result in outcome.results}
    if len(results) != len(expectations) or len(outcome.results) != len(expectations):
        raise RuntimeError(f"{len(outcome.results)} results for {len(expectations)} rules")
    return results


def _finite(rows: pa.Table) -> pa.Table:
    """What is not a number becomes a missing value."""
    for position, field in enumerate(rows.schema):
        if pa.types.is_floating(field.type):
            column = rows.column(position).cast(pa.float64())
            kept = pc.if_else(pc.is_finite(column), column, pa.scalar(None, pa.float64()))
            rows = rows.set_column(position, field.name, kept)
    return rows


def _frame(rows: pa.Table) -> Any:
    """Exactly int64 and float64: for any other width the library calls a function per row."""
    columns = []
    for field, column in zip(rows.schema, rows.columns, strict=True):
        if pa.types.is_integer(field.type):
            column = column.cast(pa.int64())
        elif not pa.types.is_floating(field.type) and not pa.types.is_boolean(field.type):
            column = _text(column)
        columns.append(column)
    # Without any column pandas would have no rows to count.
    names = [*rows.column_names, "row"]
    columns.append(pa.array(np.arange(rows.num_rows)))
    return pa.table(columns, names=names).to_pandas()


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_fixed_size_binary(column.type):
        return column.cast(pa.string())
    chunks = [_hex(chunk) for chunk in column.chunks]
    return pa.chunked_array(chunks, pa.string())


def _hex(ids: pa.Array) -> pa.Array:
    width = ids.type.byte_width
    digits = bytes(ids.buffers()[1])[ids.offset * width :][: len(ids) * width].hex().encode()
    wide = pa.Array.from_buffers(pa.binary(2 * width), len(ids), [None, pa.py_buffer(digits)])
    return wide.cast(pa.binary()).cast(pa.string())


def _missing_finding(rule: Rule, missing: Mapping[str, int], rows: int) -> Finding | None:
    """A missing value passes every other rule of the library, so it must not get there."""
    if rule.type == "expect_column_values_to_not_be_null":
        return None
    for column in rule.columns:
        if missing[column]:
            what = f"{missing[column]} of {rows} values of `{column}` are missing or not finite"
            return _unjudged(rule, what)
    return None


def _finding(rule: Rule, result: Any, table: Table) -> Finding:
    error = _error(result.exception_info or {})
    if error is not None:
        return _unjudged(rule, error)
    details = result.result or {}
    observed = details.get("observed_value")
    return Finding(
        table=rule.table,
        rule=rule.id,
        type=rule.type,
        severity=rule.severity,
        status="pass" if result.success else "fail",
        description=rule.description,
        failed=details.get("unexpected_count"),
        checked=details.get("element_count"),
        observed=None if observed is None else str(observed),
        examples=_examples(rule, table, details.get("partial_unexpected_index_list") or []),
    )


def _unjudged(rule: Rule, error: str) -> Finding:
    return Finding(
        table=rule.table,
        rule=rule.id,
        type=rule.type,
        severity=rule.severity,
        status="error",
        description=rule.description,
        error=error,
    )


def _error(info: Mapping[str, Any]) -> str | None:
    """The library reports an exception in one of two shapes."""
    entries = [info] if "raised_exception" in info else list(info.values())
    for entry in entries:
        if entry["raised_exception"]:
            return " ".join(str(entry["exception_message"]).split())[:300]
    return None


def _examples(rule: Rule, table: Table, positions: Sequence[int]) -> tuple[Example, ...]:
    columns = [name for name in (*rule.columns, *table.told) if name != table.key]
    columns = list(dict.fromkeys(columns))
    rows = table.rows.select([table.key, *columns]).take(pa.array(positions, pa.int64()))
    return tuple(
        Example(
            key=key.hex() if isinstance(key, bytes) else str(key),
            values=", ".join(f"{name} {_short(row[name])}" for name in columns),
        )
        for row in rows.to_pylist()
        for key in [row[table.key]]
    )


def _short(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)[:80]
