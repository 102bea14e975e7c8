"""The gate: rules on the data of a round. It fails closed; what cannot be judged blocks."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mir_ops.errors import InvalidInputError
from mir_ops.quality.report import Finding, GateReport
from mir_ops.quality.rule_files import Rule, Value, default_rules_dir, read_rules
from mir_ops.quality.tables import Source, Table, build_tables, read_names

if TYPE_CHECKING:
    from mir_ops.store import Version


def check(
    *,
    training: Version,
    validation: Version | None,
    incoming: Version | None = None,
    rules_dir: Path | None = None,
    parameters: Mapping[str, object] | None = None,
    classes: Mapping[int, str] | None = None,
    own_splits: bool = False,
) -> GateReport:
    """Check the ground truth of versions that are about to be used together.

    `incoming` is what shall join `training`. `rules_dir` is a project's own rules (default: ours),
    `parameters` its values for them. `classes` are the project's, by id: other classes are not
    known; default: all of the training version's taxonomy. A rule that is broken is a finding,
    a rule file that is wrong raises `InvalidInputError`.

    A version that is given as both training and incoming counts once. What is incoming counts as
    training images, with `own_splits` as what it says itself.
    """
    from mir_ops.quality.engine import judge

    given: dict[Source, Version | None] = {
        "training": training,
        "validation": validation,
        "incoming": incoming,
    }
    if incoming is not None and incoming.commit.id == training.commit.id:
        del given["incoming"]
    versions = {source: version for source, version in given.items() if version is not None}
    if classes is None:
        taxonomy = training.taxonomy
        classes = dict(zip(taxonomy.ids, taxonomy.names, strict=True))
    rule_set = read_rules(rules_dir or default_rules_dir())
    known: list[str | int | float | bool] = [*sorted(classes)]
    built_in: dict[str, Value] = {"known_classes": known}
    rules, used = rule_set.fill(parameters or {}, built_in=built_in)
    tables = build_tables(versions, classes, own_splits=own_splits)
    _refuse_unknown_columns(rules, tables)
    findings: list[Finding] = []
    for table in tables.values():
        findings.extend(judge(table, [rule for rule in rules if rule.table == table.name]))
    _refuse_missing(rules, findings)
    return GateReport(
        findings=_with_names(findings, versions),
        versions={source: version.commit.id for source, version in versions.items()},
        tables={table.name: table.rows.num_rows for table in tables.values()},
        parameters=used,
        rules_digest=rule_set.digest,
    )


def _with_names(
    findings: Sequence[Finding], versions: Mapping[Source, Version]
) -> tuple[Finding, ...]:
    """People know images by their files."""
    keys = {one.key for finding in findings for one in finding.examples if len(one.key) == 64}
    names = read_names(versions, keys) if keys else {}
    return tuple(
        replace(
            finding,
            examples=tuple(replace(one, name=names.get(one.key, "")) for one in finding.examples),
        )
        for finding in findings
    )


def _refuse_unknown_columns(rules: tuple[Rule, ...], tables: Mapping[str, Table]) -> None:
    for rule in rules:
        names = tables[rule.table].rows.column_names
        for column in rule.columns:
            if column not in names:
                close = difflib.get_close_matches(column, names, n=1)
                raise InvalidInputError(
                    f"{rule.where}: the table `{rule.table}` has no column `{column}`",
                    code="bad-rule",
                    hint=f"Did you mean `{close[0]}`?"
                    if close
                    else f"Its columns are {', '.join(f'`{name}`' for name in names)}",
                )


def _refuse_missing(rules: tuple[Rule, ...], findings: list[Finding]) -> None:
    asked = [(rule.table, rule.id) for rule in rules]
    answered = [(finding.table, finding.rule) for finding in findings]
    if sorted(asked) != sorted(answered):
        raise RuntimeError(f"{len(answered)} findings for {len(asked)} rules")
