"""A project's file is taken as it says, or refused with the key to correct."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mir_ops.catalog import Catalog, apply_project, create_project, edit_project, read_project
from mir_ops.catalog.projects import read_conf
from mir_ops.errors import InvalidInputError

FILE = Path(__file__).parents[2] / "projects" / "digits.yaml"


def mapping(**changes: Any) -> dict[str, Any]:
    return {
        "name": "digits",
        "classes": ["one", "two"],
        "sources": {"training": "t.zip", "validation": "v.zip", "pool": "p.zip"},
        "executor": {"name": "sample"},
        **changes,
    }


def test_example_project_is_valid(tmp_path: Path) -> None:
    catalog = Catalog.open(f"sqlite:///{tmp_path / 'catalog.db'}")
    read = yaml.safe_load(FILE.read_text(encoding="utf-8"))

    project = apply_project(catalog, read, folder=FILE.parent)

    assert len(project.spec.classes) == 10
    assert project.spec.sources.pool == str(FILE.parents[1] / ".mir-demo" / "data" / "pool.zip")


def test_project_is_the_same_after_the_catalog(tmp_path: Path) -> None:
    spec = read_project(
        mapping(stop={"target": 0.9, "plateau": {"rounds": 3}}, gates={"parameters": {"a": 1}})
    )
    assert read_project(spec.to_mapping()) == spec


def test_paths_are_relative_to_the_file() -> None:
    sources = {"training": "t.zip", "validation": "/v.zip", "pool": "file:///data/p%20q.zip"}
    spec = read_project(mapping(sources=sources), folder=Path("/projects"))

    assert spec.sources.model_dump() == {
        "training": "/projects/t.zip",
        "validation": "/v.zip",
        "pool": "/data/p q.zip",
    }


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"clases": []}, "`clases`", "Did you mean `classes`?"),
        ({"stop": {"targets": 1}}, "`stop.targets`", "Did you mean `stop.target`?"),
        (
            {"stop": {"plateau": {"rouns": 1}}},
            "`stop.plateau.rouns`",
            "Did you mean `stop.plateau.rounds`?",
        ),
        (
            {"executor": {"name": "sample", "config": {"mining": {}}}},
            "`executor.config.mining`",
            "Known here: `train`, `infer`",
        ),
    ],
)
def test_unknown_key_is_refused(changes: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read_project(mapping(**changes))
    assert caught.value.code == "unknown-parameter"
    assert str(caught.value) == f"Unknown project parameter: {message}"
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "../x"}, "`name`: String should match pattern"),
        ({"classes": ["one", "One "]}, "`classes`: class names must be distinct and not empty"),
        ({"classes": []}, "`classes`:"),
        ({"seed": "1"}, "`seed`: Input should be a valid integer"),
        ({"seed": True}, "`seed`: Input should be a valid integer"),
        ({"mining": {"budget": 0}}, "`mining.budget`: Input should be greater than"),
        ({"mining": {"exclude": "all"}}, "`mining.exclude`: Input should be 'dedup'"),
        ({"stop": {"target": 1.5}}, "`stop.target`: Input should be less than"),
        (
            {"labels": {"backend": "magic"}},
            "`labels.backend`: no label backend named `magic`: known are",
        ),
        ({"sources": {"training": "t", "validation": "v"}}, "`sources.pool`: Field required"),
        (
            {"sources": {"training": "s3://b/t.zip", "validation": "v", "pool": "p"}},
            "`sources.training`: `s3://b/t.zip` is neither a path nor a `file:` address",
        ),
    ],
)
def test_bad_value_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read_project(mapping(**changes))
    assert caught.value.code == "invalid-project"
    assert str(caught.value).startswith(f"Invalid project: {message}")


def test_unknown_strategy_is_refused(tmp_path: Path) -> None:
    catalog = Catalog.open(f"sqlite:///{tmp_path / 'catalog.db'}")

    with pytest.raises(InvalidInputError) as caught:
        apply_project(catalog, mapping(mining={"strategy": "entropi"}))
    assert str(caught.value) == "No mining strategy named `entropi`"
    assert caught.value.hint == "Did you mean `entropy`?"
    assert catalog.projects.list() == []


def test_unknown_conf_key_is_refused() -> None:
    with pytest.raises(InvalidInputError) as caught:
        read_conf({"project": "digits", "buget": 3})
    assert caught.value.code == "unknown-parameter"
    assert str(caught.value) == "Unknown run parameter: `buget`"
    assert caught.value.hint == "Did you mean `budget`?"


def test_null_conf_is_the_projects_own() -> None:
    assert read_conf({"budget": None, "seed": None}).model_dump(exclude_none=True) == {}


def test_edit_changes_some_keys_and_null_takes_a_default(tmp_path: Path) -> None:
    catalog = Catalog.open(f"sqlite:///{tmp_path / 'catalog.db'}")
    create_project(catalog, mapping(mining={"budget": 7, "strategy": "entropy"}, seed=3))

    changes = {"mining": {"budget": 9, "strategy": None}, "stop": {"target": 0.8}, "seed": None}
    after = edit_project(catalog, "digits", changes).spec

    assert (after.mining.budget, after.mining.strategy) == (9, "hybrid")
    assert (after.stop.target, after.seed) == (0.8, 0)
    assert after.classes == ("one", "two")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"mining": {"bugdet": 9}}, "unknown-parameter"),
        ({"mining": {"budget": 0}}, "invalid-project"),
        ({"mining": {"budget": float("inf")}}, "invalid-project"),
        ({"labels": {"timeout_days": float("inf")}}, "invalid-project"),
        ({"mining": {"strategy": "entropi"}}, "unknown-strategy"),
        ({"mining": None, "classes": None}, "invalid-project"),
        ({"mining": "entropy"}, "invalid-project"),
        ({"name": "letters"}, "invalid-project"),
    ],
)
def test_edit_that_is_refused_changes_nothing(
    tmp_path: Path, changes: dict[str, Any], code: str
) -> None:
    catalog = Catalog.open(f"sqlite:///{tmp_path / 'catalog.db'}")
    before = create_project(catalog, mapping())

    with pytest.raises(InvalidInputError) as caught:
        edit_project(catalog, "digits", changes)
    assert caught.value.code == code
    assert catalog.projects.get("digits") == before
