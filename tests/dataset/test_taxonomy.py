"""Classes: names, aliases, ids, and the label file."""

from __future__ import annotations

from pathlib import Path

import pytest

from mir_ops.errors import InvalidInputError, NotFoundError
from mir_ops.taxonomy import ClassName, Taxonomy, add_labels, read_labels, write_labels

YMIR = """
labels:
- create_time: 1646728410.570311
  id: 0
  update_time: 1646728410.570311
  name: Frisbee
- {create_time: 2022-01-01 00:00:00, id: 1, name: tv, aliases: [Television, ' tv_monitor ']}
ymir_version: 2.0.0
"""


def test_names_and_aliases_resolve_without_case() -> None:
    taxonomy = Taxonomy((ClassName(7, "TV", ("Television",)), ClassName(2, "cat")))

    assert (taxonomy.names, taxonomy.ids) == (["cat", "tv"], [2, 7])
    assert taxonomy.id_of(" television ") == taxonomy.id_of("tv") == 7
    assert taxonomy.id_of("dog") is None
    assert taxonomy.name_of(2) == "cat"
    with pytest.raises(NotFoundError, match="No class has the id 3"):
        taxonomy.name_of(3)


def test_a_name_is_used_once() -> None:
    with pytest.raises(InvalidInputError, match="The class name `cat` is used twice"):
        Taxonomy((ClassName(0, "cat"), ClassName(1, "dog", ("Cat",))))
    with pytest.raises(InvalidInputError, match="The class id 0 is used by `cat` and `dog`"):
        Taxonomy((ClassName(0, "cat"), ClassName(0, "dog")))


def test_joining_unites_aliases_and_refuses_another_name_for_an_id() -> None:
    one = Taxonomy((ClassName(0, "tv", ("telly",)),))

    joined = one.joined(Taxonomy((ClassName(0, "tv", ("television",)), ClassName(1, "cat"))))

    assert joined.id_of("telly") == joined.id_of("television") == 0
    with pytest.raises(InvalidInputError, match="Class id 0 is `tv` here and `cat` there"):
        one.joined(Taxonomy((ClassName(0, "cat"),)))


def test_a_label_file_of_ymir_is_read(tmp_path: Path) -> None:
    (tmp_path / "labels.yaml").write_text(YMIR)

    taxonomy = read_labels(tmp_path / "labels.yaml")

    assert taxonomy.names == ["frisbee", "tv"]
    assert taxonomy.id_of("TV_monitor") == 1


def test_a_written_label_file_reads_the_same(tmp_path: Path) -> None:
    taxonomy = Taxonomy((ClassName(0, "cat", ("kitten",)), ClassName(1, "0")))

    write_labels(tmp_path / "labels.yaml", taxonomy)

    assert read_labels(tmp_path / "labels.yaml") == taxonomy


def test_adding_keeps_what_is_there_and_a_shared_link(tmp_path: Path) -> None:
    shared, link = tmp_path / "shared.yaml", tmp_path / "labels.yaml"
    shared.write_text(YMIR)
    link.symlink_to(shared)

    added = add_labels(link, ["Cat", "television", "cat"])

    assert added == ["cat"]
    assert link.is_symlink()
    assert read_labels(shared).names == ["frisbee", "tv", "cat"]
    assert "1646728410.570311" in shared.read_text()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("labels: [{id: 1, name: cat}]", "entry 0 has the id 1, expected 0"),
        ("labels: [{id: 0}]", "entry 0 has no `name`"),
        ("labels: {a: b}", "must be a list"),
        ("labels: [cat]", "must be a list of entries"),
        ("labels: [{id: 0, name: cat, aliases: kitten}]", "`aliases` of entry 0 must be a list"),
        ("labels: !!python/object/apply:os.system [ls]", "it is not YAML"),
        ("{", "it is not YAML"),
    ],
)
def test_a_label_file_that_is_wrong_says_how(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "labels.yaml").write_text(text)

    with pytest.raises(InvalidInputError, match=reason):
        read_labels(tmp_path / "labels.yaml")


def test_an_empty_label_file_has_no_classes(tmp_path: Path) -> None:
    (tmp_path / "labels.yaml").write_text("# none yet\n")

    assert read_labels(tmp_path / "labels.yaml").names == []
