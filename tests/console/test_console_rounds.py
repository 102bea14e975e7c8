from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from console_data import HOSTILE, Client, Shown
from project_story import PROJECT, tell_story

from mir_ops.catalog import Catalog, apply_project
from mir_ops.console.app import create_app
from mir_ops.console.report import write_folder_page, write_report
from mir_ops.console.rounds.charts import verdict
from mir_ops.console.rounds.views import RoundView, training_size
from mir_ops.console.sources import Sources
from mir_ops.errors import NotFoundError


@pytest.fixture(scope="module")
def catalog(shown: Shown, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """All rounds look at one version."""
    catalog = Catalog.open(f"sqlite:///{tmp_path_factory.mktemp('catalog')}/catalog.db")
    tell_story(catalog, shown)
    return catalog


def _round(number: int, map50: float | None, images: int | None = None) -> RoundView:
    return RoundView(
        number=number,
        state="closed",
        strategy="entropy",
        opened_at=datetime(2026, 1, 1, tzinfo=UTC),
        map50=map50,
        images=images,
    )


def test_a_project_shows_its_rounds_newest_first(shown: Shown, catalog: Catalog) -> None:
    client = Client(create_app(lambda: Sources(shown.store, catalog)))

    html = client.get("/projects/digits").text

    assert re.findall(r'<a href="[^"]*projects/digits/rounds/(\d)">\d</a></th>', html) == [
        "3", "2", "1"
    ]  # fmt: skip
    assert "mAP50: 0.25 at 41, 0.5 at 42, 0.6 at 43" in html
    assert "<b>0.600</b> / 0.900" in html
    assert "mAP50 +0.250, 95% interval -0.010 to +0.500: these images cannot tell" in html
    assert "missed (9, +0.100), localisation (7, +0.020), background (3, +0.010)." in html
    assert html.count(f'versions/{shown.commit.id}">mined</a>') == 3
    assert HOSTILE not in html


def test_a_gate_has_a_page_of_its_own_that_runs_nothing(shown: Shown, catalog: Catalog) -> None:
    first, second, _ = catalog.rounds.list("digits")
    for turn, found in ((first, "an old report"), (first, "one box outside"), (second, "fine")):
        blob = shown.store.put_blob(f"<h1>{found}</h1>".encode())
        catalog.gates.add(
            round_id=turn.id, stage="data", op_id=found, blocked=False, message="",
            json_blob=blob, html_blob=blob,
        )  # fmt: skip
    client = Client(create_app(lambda: Sources(shown.store, catalog)))

    page = client.get("/projects/digits/rounds/1/gates/data")

    assert page.text == "<h1>one box outside</h1>"
    assert page.headers["content-security-policy"] == (
        "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    )
    assert 'rounds/1/gates/data">data gate</a>' in client.get("/projects/digits").text
    for missing in ("rounds/1/gates/labels", "rounds/9/gates/data", "rounds/x/gates/data"):
        assert client.get(f"/projects/digits/{missing}").status_code in (400, 404)


def test_the_first_page_lists_projects_that_may_be_read(shown: Shown, catalog: Catalog) -> None:
    apply_project(catalog, {**PROJECT, "name": "secret"})
    sources = Sources(shown.store, catalog)
    everything = Client(create_app(lambda: sources))
    some = Client(create_app(lambda: sources, may=lambda _request, _action, name: name == "digits"))

    assert "projects/secret" in everything.get("/").text
    assert "projects/secret" not in some.get("/").text
    assert some.get("/projects/digits").status_code == 200
    assert some.get("/projects/secret").status_code == 403


def test_training_size_leaves_validation_out(shown: Shown) -> None:
    assert training_size(shown.store, shown.commit.id) == (40, 49)


@pytest.mark.parametrize(
    ("rounds", "begins"),
    [
        ([], "No round has been evaluated yet."),
        ([_round(1, 0.4)], "One model so far, mAP50 0.400"),
        (
            [_round(1, 0.4, 100), _round(2, 0.45, 200)],
            "Better: mAP50 went from 0.400 in round 1 to 0.450 in round 2 (+0.050), "
            "with 100 more labelled images. One training per round on one seed",
        ),
        ([_round(1, 0.4), _round(2, 0.3)], "Worse: mAP50 went from 0.400 in round 1 to 0.300"),
        ([_round(1, 0.4), _round(2, 0.4001)], "No change: "),
        ([_round(1, 0.4), _round(2, None)], "One model so far"),
    ],
)
def test_the_verdict_says_better_or_worse(rounds: list[RoundView], begins: str) -> None:
    assert verdict(rounds).startswith(begins)


def test_a_report_is_one_file_that_runs_nothing(
    shown: Shown, catalog: Catalog, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"

    write_report(shown.store, catalog, "digits", path)

    html = path.read_text()
    assert html.count("data:image/jpeg;base64,") == 15  # the five picked, in three rounds
    assert "Better: mAP50 went from 0.250" in html
    assert "cat: before the first round 40, after the last 40" in html
    assert not re.search(r"<script|src=\"(?!data:)|href=", html)
    assert HOSTILE not in html


def test_a_report_of_an_unknown_project_is_refused(
    shown: Shown, catalog: Catalog, tmp_path: Path
) -> None:
    with pytest.raises(NotFoundError, match="No project named `nope`"):
        write_report(shown.store, catalog, "nope", tmp_path / "report.html")


def test_a_folder_page_shows_labelled_images_first(shown: Shown, tmp_path: Path) -> None:
    path = tmp_path / "page.html"

    write_folder_page(
        shown.store, shown.store.read(shown.commit.id), path, title=HOSTILE, images=55
    )

    html = path.read_text()
    assert html.count("data:image/jpeg;base64,") == 55
    assert html.count(">unlabelled<") == 5
    assert html.rindex(">dog<") < html.index(">unlabelled<")
    assert HOSTILE not in html
