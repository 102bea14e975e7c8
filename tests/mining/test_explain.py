"""`mir mining explain`: a table, JSON and a page of what a version's scores say."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import pyarrow as pa
import pytest
from browser_tab import CHROMIUM, open_tab
from PIL import Image
from pools import embedded, predicted

from mir_ops import mining
from mir_ops.cli.main import main
from mir_ops.cli.repository import create_repository
from mir_ops.dataset import subset
from mir_ops.store import Operation, Store, schema
from mir_ops.taxonomy import Taxonomy

HOSTILE = '<img src=x onerror="alert(1)">.png'


@pytest.fixture
def picked(tmp_path: Path) -> tuple[Path, Store]:
    """A repository whose branch `picked` holds two of four images, with scores."""
    repository = create_repository(tmp_path)
    store = repository.store
    known = store.register_classes(["cat", "dog"])
    ids = [store.put_blob(_picture(number)) for number in range(5)]
    assets = pa.table(
        {
            "asset_id": pa.array([bytes.fromhex(one) for one in ids[:4]], schema.ASSET_ID),
            "media_type": ["image/png"] * 4,
            "width": [40] * 4,
            "height": [30] * 4,
            "channels": [3] * 4,
            "byte_size": [100] * 4,
            "orientation": [1] * 4,
            "source_names": [[HOSTILE], ["b.png"], ["c.png"], []],
            "added_at": pa.array([0] * 4, schema.TIME),
            "ymir_sha1": [bytes(20)] * 4,
        }
    )
    rows = [(bytes.fromhex(one), known["cat"], 0.5 - n / 10, None) for n, one in enumerate(ids[:4])]
    boxes = predicted(rows)
    for side, value in (("x", 3.0), ("y", 4.0), ("w", 10.0), ("h", 12.0)):
        boxes = boxes.append_column(side, pa.array([value] * 4, pa.float32()))
    boxes = boxes.append_column("kind", pa.array(["box"] * 4))
    selection = mining.select(
        "hybrid",
        assets=assets.select(["asset_id"]),
        predictions=boxes,
        classes={number: name for name, number in known.items()},
        budget=2,
        seed=0,
        embeddings=embedded([row[0] for row in rows], [[n, 1] for n in range(4)]),
        labelled=mining.Labelled(
            boxes={known["cat"]: 3},
            asset_ids=pa.array([bytes.fromhex(ids[4])], schema.ASSET_ID),
            vectors=embedded([bytes(32)], [[9, 1]])["vector"].combine_chunks().flatten()
            .to_numpy().reshape(1, 2),
        ),
    )  # fmt: skip
    with store.edit(
        "scored",
        op_id="1" * 64,
        operation=Operation(
            kind="mine", parameters={"strategy": "hybrid", "budget": 2, "notes": ["did without"]}
        ),
        message="Score",
    ) as edit:
        edit.put_taxonomy(Taxonomy.from_names(known))
        edit.put_assets(assets)
        edit.put_layer("predictions:m", boxes)
        edit.put_layer("scores:r1", selection.scores)
    chosen = selection.scores.filter(pa.compute.is_valid(selection.scores["rank"]))
    subset(
        store,
        "scored",
        "picked",
        asset_ids=chosen["asset_id"].combine_chunks(),
        op_id="2" * 64,
    )
    return tmp_path, store


def _picture(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), (number * 40, 10, 200)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("rev", ["scored", "picked"])
def test_each_pick_is_explained(
    picked: tuple[Path, Store], rev: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root, _ = picked

    assert main(["mining", "explain", rev, "--json", "--root", str(root)]) == 0

    said = json.loads(capsys.readouterr().out)
    assert (said["strategy"], said["notes"], said["layer"]) == (
        "hybrid",
        ["did without"],
        "scores:r1",
    )
    first, second = said["choices"]
    assert (first["rank"], first["name"], first["components"]["distance"]) == (1, HOSTILE, 9.0)
    assert first["reason"].startswith("class-weighted uncertainty")
    assert first["nearest"] == second["nearest"] != first["asset_id"]


def test_people_get_a_table(picked: tuple[Path, Store], capsys: pytest.CaptureFixture[str]) -> None:
    root, _ = picked

    assert main(["mining", "explain", "picked", "-n", "1", "--root", str(root)]) == 0

    said = capsys.readouterr()
    head, row = said.out.splitlines()
    assert head.split() == ["RANK", "IMAGE", "NAME", "SCORE", "NEAREST", "REASON"]
    assert row.split()[0] == "1"
    assert said.err == "did without\n1 more: see them with `-n 2`\n"


def test_the_page_shows_pictures_and_trusts_no_name(
    picked: tuple[Path, Store], capsys: pytest.CaptureFixture[str]
) -> None:
    root, _ = picked
    page = root / "picks.html"

    words = ["mining", "explain", "picked", "--pictures", str(page), "--root", str(root)]
    assert main(words) == 0

    html = page.read_text()
    assert html.count("data:image/jpeg;base64,") == 4  # two picks, and what is most like each
    assert HOSTILE not in html
    assert "&lt;img src=x" in html
    assert "<script" not in html
    assert 'x="3.0" y="4.0" width="10.0" height="12.0"' in html
    first = html.split("data:image/jpeg;base64,")[1].split('"')[0]
    with Image.open(io.BytesIO(base64.b64decode(first))) as image:
        assert image.size == (40, 30)
    assert "The labelled image most like it" in html
    assert "did without" in html
    assert f"Wrote {page}" in capsys.readouterr().err


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("width", [420, 1280])
def test_a_browser_shows_every_picture_and_nothing_runs_over(
    picked: tuple[Path, Store], width: int
) -> None:
    root, _ = picked
    page = root / "picks.html"
    words = ["mining", "explain", "picked", "--pictures", str(page), "--root", str(root)]
    assert main(words) == 0

    with open_tab() as tab:
        tab.page.set_viewport_size({"width": width, "height": 900})
        tab.page.goto(page.as_uri())
        seen = tab.page.evaluate("[...document.images].map(image => image.naturalWidth > 0)")
        over = tab.page.evaluate(
            "[...document.querySelectorAll('.picks *')].filter(one => one.checkVisibility() &&"
            " one.getBoundingClientRect().right > document.documentElement.clientWidth).length"
        )
        assert (tab.complaints, tab.elsewhere(page.as_uri())) == ([], [])
    assert seen == [True] * 4
    assert over == 0


def test_an_image_that_is_lost_is_no_reason_to_fail(picked: tuple[Path, Store]) -> None:
    root, _ = picked
    for blob in (root / ".mir").rglob("*"):
        if blob.is_file() and blob.read_bytes()[:4] == b"\x89PNG":
            blob.unlink()
    page = root / "picks.html"

    words = ["mining", "explain", "picked", "--pictures", str(page), "--root", str(root)]
    assert main(words) == 0

    assert page.read_text().count("Cannot be drawn") == 2


def test_a_version_without_scores_says_what_has_them(
    picked: tuple[Path, Store], capsys: pytest.CaptureFixture[str]
) -> None:
    root, store = picked
    with store.edit("bare", op_id="3" * 64, operation=Operation(kind="import"), message="x"):
        pass

    assert main(["mining", "explain", "bare", "--root", str(root)]) == 1
    assert "has no layers of mining scores" in capsys.readouterr().err
    assert main(["mining", "explain", "picked", "--layer", "scores:r9", "--root", str(root)]) == 1
    assert "Name one with `--layer`: `scores:r1`" in capsys.readouterr().err


def test_ymirs_words_need_their_options_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mining", "--topk", "3"]) == 2
    assert "the following arguments are required: --executor" in capsys.readouterr().err
