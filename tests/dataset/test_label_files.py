"""The label files of a working folder, edited by people and by us."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mir_ops.errors import ConflictError, InvalidInputError, NotFoundError, StoreError
from mir_ops.label_files import LabelFiles, taxonomy_of
from mir_ops.label_formats import CSV_HEADER, Label, read_labels, to_csv, to_yaml, write_labels

YMIR = """
labels:
- create_time: 1646728410.570311
  id: 0
  update_time: 1646728410.570311
  name: Frisbee
- {create_time: 2022-01-01 00:00:00, id: 1, name: tv, aliases: [Television, ' tv_monitor ']}
ymir_version: 2.0.0
"""


@pytest.fixture
def files(tmp_path: Path) -> LabelFiles:
    """A yaml, and a csv as the first releases had it."""
    (tmp_path / "labels.csv").write_text(CSV_HEADER + "\n")
    (tmp_path / "labels.yaml").write_text("labels: []\n")
    return LabelFiles(
        yaml=tmp_path / "labels.yaml",
        csv=tmp_path / "labels.csv",
        memory=tmp_path / "labels.json",
    )


def names(labels: list[Label] | None) -> list[tuple[str, ...]]:
    return [(label.name, *label.aliases) for label in labels or []]


def test_a_label_file_of_ymir_is_read(tmp_path: Path) -> None:
    (tmp_path / "labels.yaml").write_text(YMIR)

    labels = read_labels(tmp_path / "labels.yaml")

    assert names(labels) == [("frisbee",), ("tv", "television", "tv_monitor")]
    assert [label.create_time for label in labels] == ["1646728410.570311", "2022-01-01 00:00:00"]


def test_a_list_without_its_first_line_is_read(tmp_path: Path) -> None:
    # The second guide's last example has no `labels:`.
    (tmp_path / "labels.yaml").write_text("- {id: 0, name: tv, aliases: [television]}\n")

    assert names(read_labels(tmp_path / "labels.yaml")) == [("tv", "television")]


def test_a_csv_of_the_first_guide_is_read(tmp_path: Path) -> None:
    for header in ("", CSV_HEADER + "\n"):
        (tmp_path / "labels.csv").write_text(header + "0,,person\n1,,cat\n\n2,,tv,television\n")

        assert names(read_labels(tmp_path / "labels.csv")) == [
            ("person",),
            ("cat",),
            ("tv", "television"),
        ]


@given(
    st.lists(
        st.lists(
            st.text(st.characters(exclude_characters=",", exclude_categories=("Cs", "Cc")))
            .map(lambda text: text.strip().lower())
            .filter(bool),
            min_size=1,
            max_size=3,
        ),
        max_size=5,
    )
)
def test_what_is_written_reads_the_same(tmp_path_factory: pytest.TempPathFactory, rows) -> None:  # type: ignore[no-untyped-def]
    used: set[str] = set()
    unique = [[n for n in row if n not in used and not used.add(n)] for row in rows]
    labels = [Label(name=row[0], aliases=tuple(row[1:])) for row in unique if row]
    folder = tmp_path_factory.mktemp("labels")

    for name in ("labels.yaml", "labels.csv"):
        write_labels(folder / name, labels)
        assert read_labels(folder / name) == labels


def test_the_edited_file_is_believed_and_the_other_written_anew(files: LabelFiles) -> None:
    assert files.read() == []

    assert files.csv is not None
    files.csv.write_text("0,,person\n1,,tv,television\n")
    assert names(files.read()) == [("person",), ("tv", "television")]
    assert names(read_labels(files.yaml)) == [("person",), ("tv", "television")]

    files.yaml.write_text(files.yaml.read_text().replace("name: person", "name: human"))
    assert names(files.read()) == [("human",), ("tv", "television")]
    assert files.csv.read_text() == f"{CSV_HEADER}\n0,,human\n1,,tv,television\n"


def test_two_files_that_were_edited_differently_are_refused(files: LabelFiles) -> None:
    files.read()
    assert files.csv is not None
    files.csv.write_text("0,,person\n")
    files.yaml.write_text("labels: [{id: 0, name: cat}]")

    with pytest.raises(ConflictError, match=r"labels.yaml` and .*labels.csv` were both edited"):
        files.read()

    files.csv.unlink()
    assert names(files.read()) == [("cat",)]
    assert not files.csv.exists()


def test_a_class_renamed_by_hand_keeps_its_id(files: LabelFiles) -> None:
    files.yaml.write_text("labels: [{id: 0, name: cat}, {id: 1, name: tv}]")
    files.read()
    files.remember_ids({"cat": 7, "tv": 8})

    files.yaml.write_text(
        "labels: [{id: 0, name: television}, {id: 1, name: cat}, {id: 2, name: dog}]"
    )

    # `television` stands where `cat` stood, but `cat` is still there: it is another class.
    assert [label.class_id for label in files.read() or []] == [None, 7, None]
    files.yaml.write_text("labels: [{id: 0, name: television}, {id: 1, name: kitty}]")
    assert [label.class_id for label in files.read() or []] == [None, 7]
    assert taxonomy_of(files.read() or [], {"television": 9}).names == ["kitty", "television"]


def test_a_lost_memory_loses_nothing_but_renames(files: LabelFiles) -> None:
    files.yaml.write_text(YMIR)
    files.read()
    assert files.memory is not None
    files.memory.write_text("{broken")

    assert names(files.read()) == [("frisbee",), ("tv", "television", "tv_monitor")]


def test_adding_keeps_what_is_there_and_a_shared_link(tmp_path: Path) -> None:
    shared, link = tmp_path / "shared.yaml", tmp_path / "labels.yaml"
    shared.write_text(YMIR)
    shared.chmod(0o664)
    link.symlink_to(shared)

    added = LabelFiles(yaml=link).declare(["Cat", "television", "cat"])

    assert added == ["cat"]
    assert link.is_symlink()
    assert names(read_labels(shared)) == [
        ("frisbee",),
        ("tv", "television", "tv_monitor"),
        ("cat",),
    ]
    assert "1646728410.570311" in shared.read_text()
    assert shared.stat().st_mode & 0o777 == 0o664


def test_an_upsert_is_all_or_nothing(files: LabelFiles) -> None:
    files.declare(["cat", "tv"])
    before = files.yaml.read_bytes()

    with pytest.raises(InvalidInputError, match="`tv` is used twice, by the entries 1 and 2"):
        files.upsert([Label(name="cat", aliases=("kitten",)), Label(name="dog", aliases=("tv",))])
    assert files.yaml.read_bytes() == before

    assert len(files.upsert([Label(name="bird")], check_only=True)) == 1
    assert files.yaml.read_bytes() == before

    changed = files.upsert([Label(name="cat", aliases=("kitten",)), Label(name="tv")])
    assert names(changed) == [("cat", "kitten")]
    assert names(files.read()) == [("cat", "kitten"), ("tv",)]


def test_renaming_keeps_the_old_name_as_an_alias(files: LabelFiles) -> None:
    files.declare(["cat", "tv"])
    files.remember_ids({"tv": 4})

    renamed = files.rename("TV", "Television")

    assert (renamed.name, renamed.aliases, renamed.class_id) == ("television", ("tv",), 4)
    assert names(files.read()) == [("cat",), ("television", "tv")]
    assert names([files.rename("tv", "tv")]) == [("tv", "television")]
    with pytest.raises(InvalidInputError, match="`cat` is used twice"):
        files.rename("tv", "cat")
    with pytest.raises(NotFoundError, match="No class is called `dog`"):
        files.rename("dog", "puppy")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("labels: [{id: 1, name: cat}]", "entry 0 has the id 1, expected 0"),
        ("labels: [{id: 0}]", "entry 0 has no `name`"),
        ("labels: [{id: 0, name: [a]}]", "entry 0 has no `name`"),
        ("labels: {a: b}", "must be a list"),
        ("labels: [cat]", "must be a list of entries"),
        ("labels: [{id: 0, name: cat, aliases: kitten}]", "`aliases` of entry 0 must be a list"),
        ("labels: [{id: 0, name: 'a,b'}]", "`a,b` of entry 0 cannot name a class"),
        ("labels: [{id: 0, name: cat}, {id: 1, name: CAT}]", "`cat` is used twice"),
        ("labels: [{id: 0, name: cat, aliases: [cat]}]", "`cat` is used twice"),
        ("labels: !!python/object/apply:os.system [ls]", "it is not YAML"),
        (
            "a: &a [x,x]\nb: &b [*a,*a]\nlabels: [{id: 0, name: cat, aliases: [*b]}]",
            "a reference in line 2",
        ),
        ("[" * 100_000, "it is not YAML"),
        ("{", "it is not YAML"),
        ("\x00", "it is not YAML"),
    ],
)
def test_a_label_file_that_is_wrong_says_how(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "labels.yaml").write_text(text)

    with pytest.raises(InvalidInputError, match=reason) as caught:
        read_labels(tmp_path / "labels.yaml")

    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1,,cat\n", r"line 1 is `1,,cat`, expected `0,,name"),
        ("0,,cat\n0,,dog\n", "line 2 is"),
        ("cat\n", "line 1 is `cat`"),
        ("0,,\n", "`` of entry 0 cannot name a class"),
        ('0,,"cat\n', "line 1"),
        ("0,,cat,cat\n", "`cat` is used twice"),
    ],
)
def test_a_csv_that_is_wrong_says_where(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "labels.csv").write_text(text)

    with pytest.raises(InvalidInputError, match=reason):
        read_labels(tmp_path / "labels.csv")


WORDS = (
    *("labels:", "\n", "- ", "  ", "id: 0", "name: ", "aliases: ", "[", "]", "{", "}", "&a ", "*a"),
    *("!!int ", "cat", "'", '"', ",", "0,,", "1,,", "#", "null", "<<: ", "? ", "|", "%"),
)
PIECES = st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=4)), max_size=30).map("".join)
BODIES = st.one_of(st.binary(max_size=200), PIECES.map(lambda text: text.encode("utf-8", "ignore")))


def check_bytes(folder: Path, body: bytes) -> None:
    """Either they are refused, or what is read can be written and reads the same."""
    for name in ("labels.yaml", "labels.csv"):
        (folder / name).write_bytes(body)
        labels = []
        with suppress(InvalidInputError):
            labels = read_labels(folder / name)
        write_labels(folder / name, labels)
        assert names(read_labels(folder / name)) == names(labels)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any")


@given(BODIES)
def test_any_bytes_are_read_or_refused(folder: Path, body: bytes) -> None:
    check_bytes(folder, body)


@pytest.mark.long
@settings(max_examples=10_000)
@given(BODIES)
def test_ten_thousand_label_files_are_read_or_refused(folder: Path, body: bytes) -> None:
    check_bytes(folder, body)


def test_an_empty_label_file_has_no_classes(tmp_path: Path) -> None:
    (tmp_path / "labels.yaml").write_text("# none yet\n")

    assert read_labels(tmp_path / "labels.yaml") == []
    assert LabelFiles(yaml=tmp_path / "none.yaml").read() is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_only_be_read_is_read(files: LabelFiles) -> None:
    files.yaml.write_text(YMIR)
    files.yaml.parent.chmod(0o555)
    try:
        assert len(files.read() or []) == 2
    finally:
        files.yaml.parent.chmod(0o755)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"Cannot write `.*labels.yaml.lock`: No such file"):
        LabelFiles(yaml=tmp_path / "gone/labels.yaml").declare(["cat"])
    (tmp_path / "labels.yaml").symlink_to(tmp_path / "gone.d/labels.yaml")
    with pytest.raises(StoreError, match=r"Cannot write `.*gone.d/labels.yaml`: No such file"):
        write_labels(tmp_path / "labels.yaml", [])


def test_twenty_thousand_classes_are_no_burden(files: LabelFiles) -> None:
    many = [f"class {number}" for number in range(20_000)]

    assert len(files.declare(many)) == 20_000
    assert files.read() == files.read()
    assert len(to_yaml(files.read() or [])) > len(to_csv(files.read() or [])) > 300_000
    assert files.declare(["class 5", "class 20000"]) == ["class 20000"]
