"""Rule files that are not clearly understood are refused, with their place and reason."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.quality import default_rules_dir, read_rules
from mir_ops.quality.rule_files import ARGUMENTS, TABLES

GOOD = "rules: [{id: a, type: expect_table_row_count_to_be_between, kwargs: {min_value: 1}}]"
BUILT_IN: dict[str, list[str | int | float | bool]] = {"known_classes": [0, 1]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for table in TABLES:
        (tmp_path / f"{table}.yaml").write_text(GOOD)
    return tmp_path


def refused(folder: Path, rule: str, **parameters: object) -> InvalidInputError:
    (folder / "classes.yaml").write_text(f"rules:\n- {rule}\n")
    return refused_folder(folder, **parameters)


def refused_folder(folder: Path, **parameters: object) -> InvalidInputError:
    with pytest.raises(InvalidInputError) as caught:
        read_rules(folder).fill(parameters, built_in=BUILT_IN)
    return caught.value


BETWEEN = "expect_column_values_to_be_between"
IN_SET = "expect_column_values_to_be_in_set"


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("{type: x, kwargs: {}}", "`classes.yaml`, rule 1: has no `id`"),
        (
            "{id: 'A b', type: x}",
            "`classes.yaml`, rule 1: id `A b`: use lower case letters, digits and hyphens",
        ),
        (
            "{id: a, type: expect_column_values_to_be_betwen, kwargs: {column: boxes}}",
            "`classes.yaml`, rule `a`: unknown type `expect_column_values_to_be_betwen`",
        ),
        ("{id: a, kwargs: {column: boxes}}", "`classes.yaml`, rule `a`: unknown type `None`"),
        (
            f"{{id: a, type: {BETWEEN}, severity: fatal, kwargs: {{column: b, min_value: 1}}}}",
            "`classes.yaml`, rule `a`: unknown severity `fatal`",
        ),
        (
            f"{{id: a, type: {BETWEEN}, mostly: 0.5, kwargs: {{column: b, min_value: 1}}}}",
            "`classes.yaml`, rule `a`: unknown key `mostly`",
        ),
        (
            f"{{id: a, type: {BETWEEN}, kwargs: {{column: b, min_value: 1, row_condition: 'x'}}}}",
            f"`classes.yaml`, rule `a`: `{BETWEEN}` may not have the argument `row_condition`",
        ),
        (
            f"{{id: a, type: {BETWEEN}, kwargs: {{column: b, min_val: 1}}}}",
            f"`classes.yaml`, rule `a`: `{BETWEEN}` may not have the argument `min_val`",
        ),
        (
            f"{{id: a, type: {BETWEEN}, kwargs: {{column: b}}}}",
            "`classes.yaml`, rule `a`: has neither `min_value` nor `max_value`",
        ),
        (
            f"{{id: a, type: {BETWEEN}, kwargs: {{column: b, min_value: null}}}}",
            "`classes.yaml`, rule `a`: `min_value` is neither a value, a list of values nor a "
            "parameter",
        ),
        (
            f"{{id: a, type: {BETWEEN}, kwargs: {{column: b, min_value: .nan}}}}",
            "`classes.yaml`, rule `a`: `min_value` is neither a value, a list of values nor a "
            "parameter",
        ),
        (
            f"{{id: a, type: {BETWEEN}, kwargs: {{column: b, min_value: '5'}}}}",
            "`classes.yaml`, rule `a`: `min_value` is not a number: '5'",
        ),
        (
            f"{{id: a, type: {BETWEEN}, kwargs: {{column: b, min_value: 5, mostly: 0}}}}",
            "`classes.yaml`, rule `a`: `mostly` is 0: it is a share above 0 and at most 1",
        ),
        (
            f"{{id: a, type: {BETWEEN}, kwargs: {{column: b, min_value: 5, mostly: 95}}}}",
            "`classes.yaml`, rule `a`: `mostly` is 95: it is a share above 0 and at most 1",
        ),
        (
            f"{{id: a, type: {BETWEEN}, kwargs: {{column: b, min_value: {{$PARAMETER: 'm*2'}}}}}}",
            "`classes.yaml`, rule `a`: `min_value` is neither a value nor `{$PARAMETER: name}`",
        ),
        (
            f"{{id: a, type: {BETWEEN}, kwargs: {{column: {{$PARAMETER: m}}, min_value: 1}}}}",
            "`classes.yaml`, rule `a`: `column` cannot be a parameter",
        ),
        (
            f"{{id: a, type: {IN_SET}, kwargs: {{column: b, value_set: 3}}}}",
            "`classes.yaml`, rule `a`: `value_set` is not a list",
        ),
        (
            f"{{id: a, type: {IN_SET}, kwargs: {{column: b, value_set: [[1]]}}}}",
            "`classes.yaml`, rule `a`: `value_set` is neither a value, a list of values nor a "
            "parameter",
        ),
        (
            f"{{id: a, type: {IN_SET}, kwargs: []}}",
            "`classes.yaml`, rule `a`: `kwargs` is not a mapping of arguments",
        ),
    ],
)
def test_a_rule_with_a_mistake_is_refused(folder: Path, rule: str, message: str) -> None:
    error = refused(folder, rule)

    assert str(error) == message
    assert error.code == "bad-rule"


def test_a_mistyped_rule_is_answered_with_a_close_one(folder: Path) -> None:
    error = refused(folder, "{id: a, type: expect_column_values_to_be_betwen}")

    assert error.hint == "Did you mean `expect_column_values_to_be_between`?"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no rules: its table would go unchecked"),
        ("rules: []", "has no rules: its table would go unchecked"),
        ("rule: [{}]", "has no rules: its table would go unchecked"),
        ("rules: {a: 1}", "`rules` is not a list"),
        ("- a", "has no rules: its table would go unchecked"),
        (GOOD + "\nsuite: x", "unknown key `suite`"),
        (GOOD + "\nparameters: [1]", "`parameters` is not a mapping"),
        (GOOD + "\nparameters: {A b: 1}", "`A b` is not a name for a parameter"),
    ],
)
def test_a_file_with_a_mistake_is_refused(folder: Path, content: str, message: str) -> None:
    (folder / "splits.yaml").write_text(content)

    error = refused_folder(folder)

    assert str(error) == f"`splits.yaml`: {message}"


@pytest.mark.parametrize(
    "content",
    [
        "rules: [",
        "rules: !!python/object/apply:os.system ['true']",
        f"{GOOD}\nrules: []",
        "a: &a [*a]\nb: *missing",
        "\x00",
        "[" * 5000,
    ],
)
def test_a_file_that_is_no_plain_yaml_is_refused(folder: Path, content: str) -> None:
    (folder / "splits.yaml").write_text(content)

    assert str(refused_folder(folder)).startswith("`splits.yaml`: is not readable as YAML: ")


def test_two_rules_of_one_id_are_refused(folder: Path) -> None:
    rule = "{id: a, type: expect_table_row_count_to_be_between, kwargs: {min_value: 1}}"

    error = refused(folder, f"{rule}\n- {rule}")

    assert str(error) == "`classes.yaml`: two rules have the id `a`"


def test_a_missing_file_is_refused(folder: Path) -> None:
    (folder / "splits.yaml").unlink()

    error = refused_folder(folder)

    assert str(error) == f"`splits.yaml`: is missing in `{folder}`: its table would go unchecked"


@pytest.mark.parametrize("name", ["assets.yml", "boxes.yaml", "assets.json"])
def test_a_file_that_would_not_be_read_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_text(GOOD)

    assert str(refused_folder(folder)) == f"`{name}`: is not a file of rules that would be read"


def test_a_missing_folder_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="No folder of rules"):
        read_rules(tmp_path / "none")


def test_a_file_too_large_is_refused(folder: Path) -> None:
    (folder / "splits.yaml").write_text(GOOD + "\n" + "#" * 1_000_001)

    assert "is too large" in str(refused_folder(folder))


WITH_PARAMETER = (
    f"{{id: a, type: {BETWEEN}, kwargs: {{column: train_boxes, min_value: {{$PARAMETER: min}}}}}}"
)


def test_a_parameter_without_value_is_refused(folder: Path) -> None:
    error = refused(folder, WITH_PARAMETER)

    assert str(error) == "`classes.yaml`, rule `a`: no value for the parameter `min`"
    assert error.code == "missing-parameter"


@pytest.mark.parametrize("value", [None, float("nan"), {"a": 1}, object()])
def test_a_parameter_that_is_no_value_is_refused(folder: Path, value: object) -> None:
    error = refused(folder, WITH_PARAMETER, min=value)

    assert str(error).startswith("The parameter `min` is ")
    assert error.code == "bad-parameter"


def test_a_parameter_that_no_rule_has_is_refused_with_a_close_one(folder: Path) -> None:
    error = refused(folder, WITH_PARAMETER, mim=3)

    assert str(error) == "No rule has a parameter `mim`"
    assert error.hint == "Did you mean `min`?"


def test_what_the_gate_sets_cannot_be_given(folder: Path) -> None:
    error = refused(folder, WITH_PARAMETER, min=3, known_classes=[1])

    assert str(error) == "The parameter `known_classes` is set by the gate itself"


def test_a_given_parameter_comes_before_the_files_own(folder: Path) -> None:
    (folder / "classes.yaml").write_text(f"parameters: {{min: 3}}\nrules: [{WITH_PARAMETER}]")
    rules = read_rules(folder)

    own, _ = rules.fill({}, built_in=BUILT_IN)
    given, used = rules.fill({"min": 8}, built_in=BUILT_IN)

    assert [rule.kwargs["min_value"] for rule in own if rule.table == "classes"] == [3]
    assert [rule.kwargs["min_value"] for rule in given if rule.table == "classes"] == [8]
    assert used == {"min": 8}


def test_the_digest_follows_the_content(folder: Path) -> None:
    before = read_rules(folder).digest
    assert read_rules(folder).digest == before

    (folder / "assets.yaml").write_text(GOOD + "\n# a word")

    assert read_rules(folder).digest != before


def test_our_own_rules_can_be_copied_and_read(tmp_path: Path) -> None:
    copy = shutil.copytree(default_rules_dir(), tmp_path / "rules")

    rules, used = read_rules(copy).fill({}, built_in=BUILT_IN)

    assert {rule.table for rule in rules} == set(TABLES)
    assert used == {"known_classes": [0, 1], "min_boxes": 1, "smallest_side": 2}
    assert all(rule.description for rule in rules)
    assert "row_condition" not in {name for names in ARGUMENTS.values() for name in names}
