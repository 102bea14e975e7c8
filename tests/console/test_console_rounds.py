from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from console_data import HOSTILE, Client, Shown

from mir_ops.catalog import Catalog, apply_project
from mir_ops.console.app import create_app
from mir_ops.console.report import write_folder_page, write_report
from mir_ops.console.rounds.views import RoundView, training_size, verdict
from mir_ops.console.sources import Sources
from mir_ops.errors import NotFoundError
from mir_ops.store import operation_id

PROJECT = {
    "name": "digits",
    "description": HOSTILE,
    "classes": ["cat", "dog", "bird"],
    "sources": {"training": "/t.zip", "validation": "/v.zip", "pool": "/p.zip"},
    "executor": {"name": "sample", "folder": "/sample"},
    "mining": {"strategy": "random", "budget": 5},
    "stop": {"target": 0.9},
}


@pytest.fixture(scope="module")
def catalog(shown: Shown, tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Two closed rounds, the second better, and an open one. All look at one version."""
    catalog = Catalog.open(f"sqlite:///{tmp_path_factory.mktemp('catalog')}/catalog.db")
    apply_project(catalog, PROJECT)
    for number, map50 in ((1, 0.25), (2, 0.5)):
        _write_round(catalog, shown, number, map50)
    spec = catalog.projects.get("digits").spec
    catalog.rounds.open(
        "digits", deployment="local", dag_id="d", run_id="run-3", spec=spec, conf={}
    )
    return catalog


def _write_round(catalog: Catalog, shown: Shown, number: int, map50: float) -> None:
    spec = catalog.projects.get("digits").spec
    turn = catalog.rounds.open(
        "digits", deployment="local", dag_id="d", run_id=f"run-{number}", spec=spec, conf={}
    )
    op_id = operation_id("train", {"number": number})
    catalog.models.add(
        round_id=turn.id,
        op_id=op_id,
        model_id="0123456789abcdef",
        stage="best",
        classes=("cat", "dog", "bird"),
        package="0" * 64,
        log=None,
        training=shown.commit.id,
        image={},
        config={},
        seed=0,
        training_metrics={},
    )
    metrics = {
        "map50": map50,
        "map50_95": map50 / 2,
        "confidence": 0.31,
        "mistakes": {
            "counts": {"localisation": 7, "background": 3, "duplicate": 0, "missed": 9},
            "gains": {"localisation": 0.02, "background": 0.01, "duplicate": 0.0, "missed": 0.1},
        },
        "gain": {"images": 40, "difference": 0.25, "low": -0.01, "high": 0.5, "level": 0.95,
                 "verdict": "cannot tell"},
    }  # fmt: skip
    catalog.models.set_evaluation(op_id, metrics=metrics, predictions=shown.commit.id)
    left: dict[str, dict[str, object]] = {
        "mine": {"commit": shown.commit.id, "picked": 5},
        "import_labels": {"commit": shown.commit.id},
        "merge_labels": {"commit": shown.commit.id},
    }
    for step, result in left.items():
        catalog.steps.start(turn.id, step, f"{step}-{number}")
        catalog.steps.finish(turn.id, step, f"{step}-{number}", result)
    catalog.rounds.close(turn.id, record="0" * 64)


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

    assert re.findall(r'<th scope="row" class="num">(\d)</th>', html) == ["3", "2", "1"]
    assert "mAP50: 0.25 at 40, 0.5 at 40" in html
    assert "target mAP50 0.9" in html
    assert "mAP50 +0.250, 95% interval -0.010 to +0.500: these images cannot tell" in html
    assert "missed (9, +0.100), localisation (7, +0.020), background (3, +0.010)." in html
    assert html.count(f'versions/{shown.commit.id}">mined</a>') == 2
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
        assert client.get(f"/projects/digits/{missing}").status_code in (404, 422)


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
    assert html.count("data:image/jpeg;base64,") == 10  # the five picked, in two rounds
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
