"""Finding versions by words."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mir_ops.dataset.keywords import describe, parse_keywords, set_keywords
from mir_ops.dataset.searching import search
from mir_ops.errors import InvalidInputError
from mir_ops.store import Commit, LayerStats, Operation, Stats, Store, refs
from mir_ops.store.commits import write_commit
from mir_ops.store.keys import head

CLASSES = {0: ["person", "human"], 1: ["traffic light"], 2: ["cat"]}


def write_versions(store: Store, branch: str, versions: list[dict[str, object]]) -> None:
    """A branch of commits as an edit leaves them, without rows: ten thousand take a second."""
    ref = refs.read_ref(store.objects, head(branch))
    parents: tuple[str, ...] = ()
    for number, version in enumerate(versions):
        layers = {"ground_truth": LayerStats(classes=dict.fromkeys(version.get("classes", ()), 1))}
        commit = write_commit(
            store.objects,
            Commit(
                id="",
                parents=parents,
                manifest="0" * 64,
                generation=number + 1,
                op_id=f"{branch}-{number}",
                operation=Operation(kind="import"),
                project=None,
                round=None,
                run=None,
                author="mir",
                message=str(version.get("message", "")),
                created_at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number),
                keywords=tuple(version.get("keywords", ())),
                stats=Stats(assets=number, layers=layers),
            ),
        )
        parents = (commit.id,)
        moved = refs.move_ref(store.objects, ref, commit.id, commit.op_id, committed=lambda _: True)
        ref = replace(moved, seen=store.objects.find_versioned(head(branch)))


@pytest.fixture
def memory_store() -> Store:
    return Store.open("memory:")


def found(store: Store, query: str, memory: Path | None = None) -> list[str]:
    hits = search(store, query, class_names=CLASSES, memory=memory)
    return [f"{hit.branch}@V{hit.number}" for hit in hits]


def test_keywords_count_more_than_messages(memory_store: Store) -> None:
    write_versions(
        memory_store,
        "street",
        [
            {"message": "Rain at night"},
            {"keywords": ["rain", "night"]},
            {"keywords": ["rain"], "message": "By day"},
        ],
    )

    assert found(memory_store, "rain night") == ["street@V2", "street@V1"]
    assert found(memory_store, "day") == ["street@V3"]


def test_spelling_need_not_be_exact(memory_store: Store) -> None:
    write_versions(memory_store, "street", [{"keywords": ["motorway"]}, {"keywords": ["park"]}])

    for query in ("motorway", "MOTORWAY", "motorwya", "moter way", "motor", "torway"):
        assert found(memory_store, query)[:1] == ["street@V1"], query
    assert found(memory_store, "xylophone") == []


def test_classes_and_datasets_are_keywords_of_their_own(memory_store: Store) -> None:
    write_versions(memory_store, "night/street", [{"classes": [0]}, {"classes": [1, 2]}])

    assert found(memory_store, "human") == ["night/street@V1"]
    assert found(memory_store, "traffic") == ["night/street@V2"]
    assert found(memory_store, "night") == ["night/street@V2", "night/street@V1"]


def test_versions_with_all_words_hide_those_with_some(memory_store: Store) -> None:
    write_versions(memory_store, "a", [{"keywords": ["rain"]}, {"keywords": ["night"]}])

    assert found(memory_store, "rain night") == ["a@V2", "a@V1"]
    write_versions(memory_store, "b", [{"keywords": ["night"], "message": "rain"}])
    assert found(memory_store, "rain night") == ["b@V1"]


def test_what_was_read_once_is_remembered(
    memory_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = tmp_path / "search.jsonl"
    write_versions(memory_store, "a", [{"keywords": [f"word{n}"]} for n in range(100)])
    assert found(memory_store, "word7", memory)[:1] == ["a@V8"]
    memory.write_text(memory.read_text() + '["torn')

    with monkeypatch.context() as patched:
        patched.setattr(Store, "commit", None)
        assert found(memory_store, "word99", memory)[:1] == ["a@V100"]

    write_versions(memory_store, "b", [{"keywords": ["other"]}])
    assert found(memory_store, "other", memory) == ["b@V1"]


def test_ten_thousand_versions_are_searched_without_rows(memory_store: Store) -> None:
    for branch in range(100):
        versions = [
            {"message": f"Import part {branch} {n}", "keywords": [f"k{n}"], "classes": [n % 3]}
            for n in range(100)
        ]
        versions[50]["keywords"] = ["rain", "night"] if branch == 42 else ["sun"]
        write_versions(memory_store, f"set{branch}", versions)
    reads = {"segments": 0}
    objects = memory_store.objects
    original = objects.find

    def find(key: str) -> bytes | None:
        reads["segments"] += key.startswith("seg/")
        return original(key)

    objects.find = find  # type: ignore[method-assign]

    assert found(memory_store, "rain nigth") == ["set42@V51"]
    assert reads["segments"] == 0


def test_keywords_of_a_branch_are_committed(store: Store) -> None:
    with store.edit("a", op_id="1", operation=Operation(kind="import"), message="Start"):
        pass

    commit = set_keywords(store, "a", ["rain", "at night"], op_id="2")

    assert commit.keywords == ("rain", "at night")
    assert commit.stats == store.resolve("a@V1").stats
    assert found(store, "rain") == ["a@V2"]


def test_described_version_keeps_rows_keywords_and_project(store: Store) -> None:
    with store.edit(
        "a",
        op_id="1",
        operation=Operation(kind="import"),
        message="Start",
        project="digits",
        keywords=["rain"],
    ):
        pass

    commit = describe(store, "a", " Wet streets ", op_id="2")

    assert (commit.message, commit.keywords, commit.project) == ("Wet streets", ("rain",), "digits")
    assert describe(store, "a", "Wet streets", op_id="2").id == commit.id
    assert set_keywords(store, "a", ["night"], op_id="3").project == "digits"
    with pytest.raises(InvalidInputError, match="A description has 1 to 2000 characters, not 0"):
        describe(store, "a", " ", op_id="4")


def test_keywords_are_given_one_by_one_or_joined() -> None:
    assert parse_keywords(["rain;night", " Rain ", "at  night", ""]) == [
        "rain",
        "night",
        "at night",
    ]
    with pytest.raises(InvalidInputError, match="cannot be a keyword"):
        parse_keywords(["a\x07"])
