"""Rule files: YAML that a team copies and edits. What is not clearly understood is refused."""

from __future__ import annotations

import difflib
import hashlib
import math
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, cast

import yaml

from mir_ops.errors import InvalidInputError, NotFoundError

Severity = Literal["critical", "warning", "info"]
Scalar = str | int | float | bool
Value = Scalar | list[Scalar]

SEVERITIES: Final = ("critical", "warning", "info")
TABLES: Final = ("assets", "annotations", "classes", "splits")

# What a rule may be, and the arguments it may have. A row condition is not among them: the
# library evaluates it as code.
_BETWEEN: Final = {"min_value", "max_value", "strict_min", "strict_max"}
ARGUMENTS: Final[Mapping[str, frozenset[str]]] = {
    "expect_table_row_count_to_be_between": frozenset(_BETWEEN),
    "expect_column_values_to_not_be_null": frozenset({"column", "mostly"}),
    "expect_column_values_to_be_unique": frozenset({"column", "mostly"}),
    "expect_column_values_to_be_between": frozenset({"column", "mostly", *_BETWEEN}),
    "expect_column_values_to_be_in_set": frozenset({"column", "mostly", "value_set"}),
    "expect_column_values_to_not_be_in_set": frozenset({"column", "mostly", "value_set"}),
    "expect_column_pair_values_a_to_be_greater_than_b": frozenset(
        {"column_A", "column_B", "or_equal", "mostly"}
    ),
    "expect_compound_columns_to_be_unique": frozenset({"column_list"}),
    "expect_column_min_to_be_between": frozenset({"column", *_BETWEEN}),
    "expect_column_max_to_be_between": frozenset({"column", *_BETWEEN}),
    "expect_column_mean_to_be_between": frozenset({"column", *_BETWEEN}),
    "expect_column_median_to_be_between": frozenset({"column", *_BETWEEN}),
    "expect_column_sum_to_be_between": frozenset({"column", *_BETWEEN}),
}

_COLUMN_ARGUMENTS: Final = ("column", "column_A", "column_B", "column_list")
_RULE_KEYS: Final = {"id", "type", "kwargs", "severity", "description"}
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}", re.ASCII)
_LARGEST_FILE: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value that is given when the gate runs: `{$PARAMETER: name}`."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """`kwargs` are the library's arguments; parameters among them are filled in by `fill`."""

    table: str
    id: str
    type: str
    kwargs: Mapping[str, Value | Parameter]
    severity: Severity
    description: str

    @property
    def where(self) -> str:
        return f"`{self.table}.yaml`, rule `{self.id}`"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of its table that the rule reads."""
        names: list[str] = []
        for argument in _COLUMN_ARGUMENTS:
            value = self.kwargs.get(argument, [])
            names.extend(map(str, value if isinstance(value, list) else [value]))
        return tuple(names)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """The rules of a folder, the parameters its files set, and a digest of both."""

    rules: tuple[Rule, ...]
    parameters: Mapping[str, Value]
    digest: str

    def fill(
        self, given: Mapping[str, object], *, built_in: Mapping[str, Value]
    ) -> tuple[tuple[Rule, ...], dict[str, Value]]:
        """Put values for parameters: `given` before the files' own. Also the values used."""
        used = {
            value.name
            for rule in self.rules
            for value in rule.kwargs.values()
            if isinstance(value, Parameter)
        }
        known = {*used, *self.parameters} - set(built_in)
        for name in given:
            if name not in known:
                _refuse_parameter(name, known, built_in)
        values = {**self.parameters, **{name: _value(name, given[name]) for name in given}}
        values.update(built_in)
        filled = tuple(_fill(rule, values) for rule in self.rules)
        return filled, {name: values[name] for name in sorted(used)}


def default_rules_dir() -> Path:
    """The rules that apply unless a project has its own: copy the folder and edit it."""
    return Path(__file__).with_name("rules")


def read_rules(folder: Path) -> RuleSet:
    """Read a folder of rule files: one per table, none missing, none unknown."""
    if not folder.is_dir():
        raise NotFoundError(
            f"No folder of rules at `{folder}`",
            code="no-rules",
            hint=f"Copy `{default_rules_dir()}` there and edit the copy",
        )
    _refuse_other_files(folder)
    rules: list[Rule] = []
    parameters: dict[str, Value] = {}
    digest = hashlib.sha256()
    for table in TABLES:
        content = _read_file(folder / f"{table}.yaml")
        digest.update(f"{table} {len(content)}\n".encode() + content)
        more, own = _read_table(table, content)
        for name in sorted(own.keys() & parameters.keys()):
            _refuse(f"`{table}.yaml`", f"parameter `{name}` is set in another file too")
        parameters.update(own)
        rules.extend(more)
    return RuleSet(rules=tuple(rules), parameters=parameters, digest=digest.hexdigest())


def _refuse_other_files(folder: Path) -> None:
    expected = {f"{table}.yaml" for table in TABLES}
    found = {path.name for path in folder.iterdir() if path.suffix in (".yaml", ".yml", ".json")}
    for name in sorted(found - expected):
        _refuse(
            f"`{name}`",
            "is not a file of rules that would be read",
            hint=f"Rules live in {', '.join(f'`{one}`' for one in sorted(expected))}",
        )
    for name in sorted(expected - found):
        _refuse(
            f"`{name}`",
            f"is missing in `{folder}`: its table would go unchecked",
            hint=f"Copy it from `{default_rules_dir()}`",
        )


def _read_file(path: Path) -> bytes:
    content = path.read_bytes()
    if len(content) > _LARGEST_FILE:
        _refuse(f"`{path.name}`", f"is too large: {len(content)} bytes")
    return content


def _read_table(table: str, content: bytes) -> tuple[list[Rule], dict[str, Value]]:
    where = f"`{table}.yaml`"
    document = _parse(where, content)
    if not isinstance(document, dict) or not document.get("rules"):
        _refuse(where, "has no rules: its table would go unchecked", hint="Write `rules:`")
    for key in document.keys() - {"rules", "parameters"}:
        _refuse(where, f"unknown key `{key}`", hint="Only `rules` and `parameters` may be here")
    if not isinstance(document["rules"], list):
        _refuse(where, "`rules` is not a list")
    rules = [_read_rule(table, position, row) for position, row in enumerate(document["rules"], 1)]
    ids = [rule.id for rule in rules]
    for repeated in sorted({one for one in ids if ids.count(one) > 1}):
        _refuse(where, f"two rules have the id `{repeated}`")
    return rules, _read_parameters(where, document.get("parameters") or {})


def _parse(where: str, content: bytes) -> Any:
    try:
        return yaml.load(content, Loader=_StrictLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        _refuse(where, f"is not readable as YAML: {' '.join(str(error).split())[:300]}")


def _read_parameters(where: str, found: object) -> dict[str, Value]:
    if not isinstance(found, dict):
        _refuse(where, "`parameters` is not a mapping")
    for name in found:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            _refuse(where, f"`{name}` is not a name for a parameter")
    return {name: _value(name, value) for name, value in found.items()}


def _read_rule(table: str, position: int, row: object) -> Rule:
    where = f"`{table}.yaml`, rule {position}"
    if not isinstance(row, dict) or not isinstance(row.get("id"), str):
        _refuse(where, "has no `id`")
    if not _NAME.fullmatch(row["id"]):
        _refuse(where, f"id `{row['id'][:80]}`: use lower case letters, digits and hyphens")
    where = f"`{table}.yaml`, rule `{row['id']}`"
    for key in row.keys() - _RULE_KEYS:
        _refuse(where, f"unknown key `{key}`", hint=_close(str(key), _RULE_KEYS))
    severity = row.get("severity", "critical")
    if severity not in SEVERITIES:
        _refuse(where, f"unknown severity `{severity}`", hint=f"Use {_list(SEVERITIES)}")
    description = row.get("description", "")
    if not isinstance(description, str):
        _refuse(where, "its description is not text")
    return Rule(
        table=table,
        id=row["id"],
        type=_read_type(where, row.get("type")),
        kwargs=_read_arguments(where, str(row.get("type")), row.get("kwargs")),
        severity=cast("Severity", severity),
        description=description,
    )


def _read_type(where: str, found: object) -> str:
    if not isinstance(found, str) or found not in ARGUMENTS:
        _refuse(where, f"unknown type `{found}`", hint=_close(str(found), ARGUMENTS))
    return found


def _read_arguments(where: str, kind: str, found: object) -> dict[str, Value | Parameter]:
    if not isinstance(found, dict) or not found:
        _refuse(where, "`kwargs` is not a mapping of arguments")
    for name in found:
        if name not in ARGUMENTS[kind]:
            _refuse(
                where,
                f"`{kind}` may not have the argument `{name}`",
                hint=f"It may have {_list(sorted(ARGUMENTS[kind]))}",
            )
    return {name: _read_argument(where, name, value) for name, value in found.items()}


def _read_argument(where: str, name: str, value: object) -> Value | Parameter:
    if isinstance(value, dict):
        parameter = value.get("$PARAMETER")
        if len(value) != 1 or not isinstance(parameter, str) or not _NAME.fullmatch(parameter):
            _refuse(where, f"`{name}` is neither a value nor `{{$PARAMETER: name}}`")
        if name in _COLUMN_ARGUMENTS:
            _refuse(where, f"`{name}` cannot be a parameter")
        return Parameter(parameter)
    if not _is_value(value):
        _refuse(where, f"`{name}` is neither a value, a list of values nor a parameter")
    return cast("Value", value)


def _fill(rule: Rule, values: Mapping[str, Value]) -> Rule:
    kwargs: dict[str, Value | Parameter] = {}
    for name, value in rule.kwargs.items():
        if not isinstance(value, Parameter):
            kwargs[name] = value
        elif value.name in values:
            kwargs[name] = values[value.name]
        else:
            raise InvalidInputError(
                f"{rule.where}: no value for the parameter `{value.name}`",
                code="missing-parameter",
                hint=f"Set it in the project, or under `parameters:` in `{rule.table}.yaml`",
            )
    _refuse_toothless(rule, kwargs)
    return replace(rule, kwargs=kwargs)


def _refuse_toothless(rule: Rule, kwargs: Mapping[str, object]) -> None:
    """A rule that nothing can fail is a mistake."""
    mostly = kwargs.get("mostly", 1)
    if isinstance(mostly, bool) or not isinstance(mostly, int | float) or not 0 < mostly <= 1:
        _refuse(rule.where, f"`mostly` is {mostly}: it is a share above 0 and at most 1")
    if "min_value" in ARGUMENTS[rule.type] and not kwargs.keys() & {"min_value", "max_value"}:
        _refuse(rule.where, "has neither `min_value` nor `max_value`")
    for name in ("min_value", "max_value"):
        if isinstance(kwargs.get(name, 0), bool | str | list):
            _refuse(rule.where, f"`{name}` is not a number: {kwargs[name]!r}")
    if "value_set" in ARGUMENTS[rule.type] and not isinstance(kwargs.get("value_set"), list):
        _refuse(rule.where, "`value_set` is not a list")


def _value(name: str, value: object) -> Value:
    if isinstance(value, tuple | set | frozenset | range):
        value = sorted(value)
    if not _is_value(value):
        raise InvalidInputError(
            f"The parameter `{name}` is {value!r:.80}: not a number, text, or list of them",
            code="bad-parameter",
            hint="Give it a value",
        )
    return cast("Value", value)


def _is_value(value: object) -> bool:
    if isinstance(value, list):
        return all(_is_scalar(one) for one in value)
    return _is_scalar(value)


def _is_scalar(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str | int | bool)


def _refuse_parameter(name: str, known: Collection[str], built_in: Collection[str]) -> NoReturn:
    if name in built_in:
        raise InvalidInputError(
            f"The parameter `{name}` is set by the gate itself",
            code="unknown-parameter",
            hint="Use another name",
        )
    raise InvalidInputError(
        f"No rule has a parameter `{name}`",
        code="unknown-parameter",
        hint=_close(name, known),
    )


def _refuse(where: str, what: str, *, hint: str | None = None) -> NoReturn:
    raise InvalidInputError(f"{where}: {what}", code="bad-rule", hint=hint)


def _close(name: str, known: Collection[str]) -> str | None:
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"Did you mean `{close[0]}`?"
    return f"Choose one of {_list(sorted(known))}" if known else None


def _list(names: Collection[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


class _StrictLoader(yaml.SafeLoader):
    """A key twice in one mapping is a mistake; YAML would keep the last one silently."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [repr(self.construct_object(key, deep=True)) for key, _ in node.value]
        if len(set(keys)) < len(keys):
            twice = sorted(key for key, times in Counter(keys).items() if times > 1)
            raise yaml.YAMLError(f"the key {twice[0]} is there twice")
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping
