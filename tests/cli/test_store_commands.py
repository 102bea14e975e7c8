"""`mir store`, run as a user runs it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
from PIL import Image

from mir_ops.cli.main import main
from mir_ops.store import Operation, Store


@pytest.fixture
def repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Path:
    """A repository with three images on the branch `a`, and no catalog yet."""
    images = tmp_path / "source" / "images"
    images.mkdir(parents=True)
    for number in range(3):
        written = io.BytesIO()
        Image.new("RGB", (8, 6), (number, 0, 0)).save(written, "PNG")
        (images / f"{number}.png").write_bytes(written.getvalue())
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert main(["init"]) == 0
    assert main(["import", str(tmp_path / "source"), "--to", "a@one"]) == 0
    capsys.readouterr()
    return folder


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> list[dict[str, Any]]:
    assert main(["store", *words, "--json"]) == code
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_doctor_names_properties_and_records_them(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["store", "doctor", "--quick"]) == 0
    assert "create-race" in capsys.readouterr().out

    found = said(capsys, "doctor", str(repository / ".mir" / "store"))[0]

    assert set(found["findings"].values()) == {"kept"}
    assert b"list-after-write" in (repository / ".mir" / "store" / "meta" / "features").read_bytes()


def test_fsck_says_what_is_wrong_by_exit_code(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, "fsck", "deep")[-1]["exit_code"] == 0
    blob = next((repository / ".mir" / "store" / "blobs").rglob("?" * 64))
    blob.write_bytes(b"damaged")

    assert main(["store", "fsck", "deep"]) == 8

    printed = capsys.readouterr().out
    assert f"{blob.name} in `file:" in printed
    assert "found: 1 corrupt" in printed
    problem, totals = said(capsys, "fsck", "deep", code=8)
    assert (problem["kind"], totals["corrupt"]) == ("corrupt", 1)
    assert "of table `assets`" in problem["referrer"]


def test_gc_needs_dry_run_and_deletes_nothing(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["store", "gc"]) == 2
    store = Store.open(str(repository / ".mir" / "store"))
    store.objects.create("seg/sha256/ab/" + "ab" * 32 + ".parquet", b"nobody's")
    capsys.readouterr()

    rows = said(capsys, "gc", "--dry-run", "--list")

    assert rows[0]["why"] == "nothing leads to it: its writer died before it committed"
    assert rows[1] == {
        "dead": "segment",
        "count": 1,
        "bytes": 8,
        "removable": 0,
        "removable_bytes": 0,
    }
    assert store.objects.size("seg/sha256/ab/" + "ab" * 32 + ".parquet") == 8
    assert main(["store", "gc", "--dry-run"]) == 0
    assert "Blobs are not judged" in capsys.readouterr().err


def test_gc_keeps_the_blobs_that_the_catalog_names(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.open(str(repository / ".mir" / "store"))
    store.put_blob(b"of nobody")
    assert main(["project", "list"]) == 0  # makes the catalog
    capsys.readouterr()

    rows = said(capsys, "gc", "--dry-run")

    assert [(row["dead"], row["count"]) for row in rows] == [("blob", 1)]


def test_resolve_tells_where_an_operation_went(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commit = Store.open(str(repository / ".mir" / "store")).resolve("a")

    found = said(capsys, "resolve", commit.op_id)[0]

    assert (found["state"], found["branch"], found["number"]) == ("committed", "a", 1)
    assert said(capsys, "resolve", "unheard-of")[0]["state"] == "not-committed"
    assert main(["store", "resolve", "unheard-of"]) == 0
    assert capsys.readouterr().out == "not committed: running it commits it once\n"


def test_printed_view_is_read_by_duckdb(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["store", "export-view", "a@one"]) == 0
    text = capsys.readouterr().out

    with duckdb.connect() as connection:
        connection.execute(text)
        assert connection.sql("select count(*), min(width) from assets").fetchall() == [(3, 8)]

    assert main(["store", "export-view", "a", "--for", "polars"]) == 0
    assert capsys.readouterr().out.startswith("import polars as pl\n")


def test_store_can_be_named(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["store", "fsck", "--store", str(tmp_path / "nowhere")]) == 1
    assert "There is no dataset store at" in capsys.readouterr().err
    assert main(["store", "fsck", "--store", str(repository / ".mir" / "store")]) == 0


def test_compact_commits_the_same_rows_where_additions_piled_up(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.open((repository / ".mir" / "store").as_uri())
    rows = store.read("a").assets()
    with store.edit("a", op_id="again", operation=Operation(kind="test"), message="One") as edit:
        edit.put_assets(rows.slice(0, 1))
    before = store.branch("a").tip()

    states = {one["branch"]: one for one in said(capsys, "compact")}

    assert (states["a"]["state"], states["master"]["state"]) == ("compacted", "as it was")
    after = store.branch("a").tip()
    assert (after.id, after.parents) == (states["a"]["commit"], (before.id,))
    assert after.stats == before.stats
    assert store.read("a").assets().equals(store.read(before).assets())
    assert said(capsys, "compact", "a")[0]["state"] == "as it was"
