"""What counts as broken: every allowed kind of rule, and what must never pass."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mir_ops.errors import InvalidInputError
from mir_ops.quality.engine import judge
from mir_ops.quality.report import Finding
from mir_ops.quality.rule_files import ARGUMENTS, Rule, Severity
from mir_ops.quality.tables import Table

IDS = [hashlib.sha256(bytes([n])).digest() for n in range(4)]


def table(**columns: Any) -> Table:
    rows = {"asset_id": pa.array(IDS, pa.binary(32)), **columns}
    return Table(name="annotations", key="asset_id", rows=pa.table(rows))


def rule(kind: str, *, rule_id: str = "r", severity: Severity = "critical", **kwargs: Any) -> Rule:
    return Rule(
        table="annotations",
        id=rule_id,
        type=f"expect_{kind}",
        kwargs=kwargs,
        severity=severity,
        description="",
    )


def judged(data: Table, kind: str, **kwargs: Any) -> Finding:
    (finding,) = judge(data, [rule(kind, **kwargs)])
    return finding


NUMBERS = pa.array([1, 2, 3, 4], pa.int32())
FLOATS = pa.array([1, 2, 3, 4], pa.float32())


CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("table_row_count_to_be_between", {"min_value": 4}, {"min_value": 5}),
    ("column_values_to_not_be_null", {"column": "n"}, {"column": "gaps"}),
    ("column_values_to_be_unique", {"column": "n"}, {"column": "twos"}),
    ("column_values_to_be_unique", {"column": "asset_id"}, {"column": "text"}),
    (
        "column_values_to_be_between",
        {"column": "n", "min_value": 1},
        {"column": "n", "min_value": 1, "strict_min": True},
    ),
    (
        "column_values_to_be_between",
        {"column": "f", "max_value": 4.0},
        {"column": "f", "max_value": 3},
    ),
    (
        "column_values_to_be_between",
        {"column": "n", "max_value": 3, "mostly": 0.75},
        {"column": "n", "max_value": 2, "mostly": 0.75},
    ),
    (
        "column_values_to_be_in_set",
        {"column": "n", "value_set": [1, 2, 3, 4]},
        {"column": "n", "value_set": [1, 2, 3]},
    ),
    (
        "column_values_to_be_in_set",
        {"column": "text", "value_set": ["a", "b"]},
        {"column": "text", "value_set": ["a"]},
    ),
    (
        "column_values_to_be_in_set",
        {"column": "true", "value_set": [True]},
        {"column": "true", "value_set": [False]},
    ),
    (
        "column_values_to_be_in_set",
        {"column": "asset_id", "value_set": [one.hex() for one in IDS]},
        {"column": "asset_id", "value_set": [IDS[0].hex()]},
    ),
    (
        "column_values_to_not_be_in_set",
        {"column": "n", "value_set": [5]},
        {"column": "n", "value_set": [4]},
    ),
    (
        "column_pair_values_a_to_be_greater_than_b",
        {"column_A": "f", "column_B": "n", "or_equal": True},
        {"column_A": "f", "column_B": "n"},
    ),
    (
        "compound_columns_to_be_unique",
        {"column_list": ["n", "twos"]},
        {"column_list": ["twos", "true"]},
    ),
    ("column_min_to_be_between", {"column": "n", "min_value": 1}, {"column": "n", "min_value": 2}),
    ("column_max_to_be_between", {"column": "n", "max_value": 4}, {"column": "n", "max_value": 3}),
    (
        "column_mean_to_be_between",
        {"column": "f", "min_value": 2, "max_value": 3},
        {"column": "f", "max_value": 2},
    ),
    (
        "column_median_to_be_between",
        {"column": "f", "min_value": 2, "max_value": 3},
        {"column": "f", "max_value": 2},
    ),
    (
        "column_sum_to_be_between",
        {"column": "n", "min_value": 10},
        {"column": "n", "min_value": 11},
    ),
]


def test_every_allowed_kind_of_rule_is_tried() -> None:
    assert {f"expect_{kind}" for kind, _, _ in CASES} == set(ARGUMENTS)


@pytest.mark.parametrize(("kind", "holds", "broken"), CASES)
def test_a_rule_holds_or_is_broken(
    kind: str, holds: dict[str, Any], broken: dict[str, Any]
) -> None:
    data = table(
        n=NUMBERS,
        f=FLOATS,
        gaps=pa.array([1.0, None, float("nan"), 2.0]),
        twos=pa.array([1, 1, 2, 2], pa.int8()),
        text=pa.array(["a", "b", "a", "b"]),
        true=pa.array([True] * 4),
    )

    first, second = judge(
        data, [rule(kind, rule_id="holds", **holds), rule(kind, rule_id="broken", **broken)]
    )

    assert (first.rule, first.status, first.error) == ("holds", "pass", None)
    assert (second.rule, second.status, second.error) == ("broken", "fail", None)


def test_a_broken_rule_names_count_and_examples() -> None:
    finding = judged(
        table(w=pa.array([5, 0, -1, 2], pa.float32())),
        "column_values_to_be_between",
        column="w",
        min_value=0,
        strict_min=True,
    )

    assert (finding.failed, finding.checked) == (2, 4)
    assert [one.key for one in finding.examples] == [IDS[1].hex(), IDS[2].hex()]
    assert finding.line() == (
        "[critical] annotations/r: 2 of 4 rows, for example "
        f"{IDS[1].hex()[:12]} (w 0), {IDS[2].hex()[:12]} (w -1)"
    )


def test_an_empty_table_passes_nothing() -> None:
    empty = Table(name="annotations", key="asset_id", rows=table(n=NUMBERS).rows.slice(0, 0))

    findings = judge(
        empty,
        [
            rule("column_values_to_be_between", rule_id="a", column="n", min_value=0),
            rule("table_row_count_to_be_between", rule_id="b", severity="info", max_value=9),
        ],
    )

    assert [finding.status for finding in findings] == ["error", "error"]
    assert all(finding.blocks for finding in findings)
    assert findings[0].found == "the table is empty"


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1.0, None, 2.0, 3.0]),
        pa.array([1.0, float("nan"), 2.0, 3.0], pa.float32()),
        pa.array([1.0, float("inf"), 2.0, 3.0]),
        pa.array([None] * 4, pa.float64()),
        pa.array([1, None, 2, 3], pa.int32()),
    ],
)
def test_a_missing_value_never_passes(column: pa.Array) -> None:
    finding = judged(
        table(n=column), "column_values_to_be_between", column="n", min_value=0, severity="info"
    )

    assert finding.status == "error"
    assert finding.blocks
    assert "values of `n` are missing or not finite" in finding.found


def test_a_rule_that_cannot_be_judged_blocks_whatever_its_severity() -> None:
    finding = judged(
        table(n=pa.array(["a", "b", "c", "d"])),
        "column_values_to_be_between",
        column="n",
        min_value=0,
        severity="info",
    )

    assert finding.status == "error"
    assert finding.error
    assert finding.blocks


def test_arguments_the_library_does_not_take_are_refused_with_the_rule() -> None:
    broken = rule("column_values_to_be_between", column="n", min_value=1, strict_min="often")

    with pytest.raises(InvalidInputError) as caught:
        judge(table(n=NUMBERS), [broken])

    assert str(caught.value).startswith("`annotations.yaml`, rule `r`: ")
    assert caught.value.code == "bad-rule"


def test_names_of_columns_are_not_code(tmp_path: Any) -> None:
    target = tmp_path / "touched"
    name = f"`@pd.io.common.os.system('touch {target}')`"

    judged(table(**{name: NUMBERS}), "column_values_to_be_between", column=name, min_value=0)

    assert not target.exists()


def test_many_broken_rows_are_counted_quickly() -> None:
    size = 200_000
    ids = pa.Array.from_buffers(
        pa.binary(32), size, [None, pa.py_buffer(np.random.default_rng(0).bytes(32 * size))]
    )
    rows = pa.table({"asset_id": ids, "x": pa.array(np.arange(size), pa.float32())})
    data = Table(name="annotations", key="asset_id", rows=rows)

    finding = judged(data, "column_values_to_be_between", column="x", max_value=0)

    assert finding.failed == size - 1
    assert len(finding.examples) == 10


def test_gates_in_threads_do_not_mix_their_counts() -> None:
    found: list[int | None] = []

    def run(limit: int) -> None:
        found.append(
            judged(
                table(n=NUMBERS), "column_values_to_be_between", column="n", max_value=limit
            ).failed
        )

    threads = [threading.Thread(target=run, args=(n % 4,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(found, key=str) == [1, 1, 2, 2, 3, 3, 4, 4]


def test_importing_the_gate_does_not_import_the_library() -> None:
    code = (
        "import sys, mir_ops.quality; "
        "print([m for m in ('great_expectations', 'pandas') if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_without_the_library_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "great_expectations", None)

    with pytest.raises(InvalidInputError) as caught:
        judged(table(n=NUMBERS), "column_values_to_be_unique", column="n")

    assert caught.value.code == "quality-not-installed"
    assert caught.value.hint == "Run `pip install 'mir-ops[quality]'`"
