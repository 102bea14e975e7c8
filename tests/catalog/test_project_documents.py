"""docs/projects.md has every key of a project, with its default, and an example that is one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic_core import PydanticUndefined

from mir_ops.catalog import Catalog, ProjectSpec, apply_project
from mir_ops.catalog.sections import Section, sections_of

TEXT = (Path(__file__).parents[2] / "docs" / "projects.md").read_text(encoding="utf-8")


def keys_of(kind: type[Section], above: str = "") -> Iterator[tuple[str, str]]:
    """Every key below a section, dotted, with its default as the document writes it."""
    for name, field in kind.model_fields.items():
        below = next(sections_of(field.annotation), None)
        default = field.get_default(call_default_factory=True)
        if below is None or default is None:
            yield f"{above}{name}", written(default)
        if below is not None:
            yield from keys_of(below, f"{above}{name}.")


def written(default: Any) -> str:
    if default is PydanticUndefined or default == "":
        return ""
    if default is None:
        return "–"
    if isinstance(default, tuple):
        return f"`[{', '.join(default)}]`"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def leaves(mapping: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for key, value in mapping.items():
        yield f"{above}{key}"
        if isinstance(value, Mapping):
            yield from leaves(value, f"{above}{key}.")


def test_every_key_is_documented_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `([\w.]+)` \| [^|]+ \| ([^|]*?) ?\|", TEXT, re.MULTILINE))

    assert rows == dict(keys_of(ProjectSpec))


def test_the_example_is_a_project_and_has_every_key(tmp_path: Path) -> None:
    example = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)[-1])

    project = apply_project(Catalog.open(f"sqlite:///{tmp_path / 'c.db'}"), example)

    assert project.name == "street"
    assert [key for key, _ in keys_of(ProjectSpec) if key not in set(leaves(example))] == []
