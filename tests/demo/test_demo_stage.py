"""What stands ready before the first round, and what is printed on the way."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow.compute as pc
import pytest

from mir_ops.catalog import read_project
from mir_ops.dataset import import_dataset
from mir_ops.demo import scenes, stage
from mir_ops.demo.__main__ import main
from mir_ops.demo.folder import DemoFolder
from mir_ops.demo.progress import Display, summary
from mir_ops.demo.project import project_mapping
from mir_ops.errors import InvalidInputError
from mir_ops.store import Store

PATHS = scenes.DatasetPaths(
    training=Path("/data/training.zip"),
    validation=Path("/data/validation.zip"),
    pool=Path("/data/pool.zip"),
    oracle=Path("/data/oracle.zip"),
)


def test_the_project_is_the_example_of_the_repository_with_the_demos_data() -> None:
    spec = read_project(project_mapping(PATHS, rounds=2, seed=5))

    assert spec.classes == scenes.CLASS_NAMES
    assert spec.sources.pool == "/data/pool.zip"
    assert (spec.mining.budget, spec.stop.rounds, spec.seed) == (100, 2, 5)
    assert spec.stop.target is not None


def test_only_the_label_connection_knows_the_oracle(tmp_path: Path) -> None:
    folder = DemoFolder(tmp_path)
    workspace = stage.open_workspace(folder, store="", runner="process")

    made = stage.connections(folder, workspace)

    assert folder.oracle.as_uri() in str(made["mir_labels"])
    assert "oracle" not in str(made["mir_default"])


def test_two_checkouts_are_two_deployments(tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made.append(stage.open_workspace(DemoFolder(tmp_path / name), store="", runner="process"))

    assert made[0].deployment != made[1].deployment
    assert made[0].catalog_url != made[1].catalog_url


def test_every_run_has_a_prefix_of_its_own_in_a_bucket() -> None:
    url = "s3://bucket/prefix?endpoint_url=http://127.0.0.1:9000"

    first, second = stage._fresh(url), stage._fresh(url)

    assert first != second
    assert first.startswith("s3://bucket/prefix/demo-")
    assert first.endswith("?endpoint_url=http://127.0.0.1:9000")


def test_a_store_that_is_not_on_s3_is_refused() -> None:
    with pytest.raises(InvalidInputError) as caught:
        stage._fresh("/tmp/store")

    assert str(caught.value) == "`/tmp/store` is not an S3 address"


def test_nothing_moves_where_nobody_looks() -> None:
    stream = io.StringIO()
    display = Display(stream)

    display.status("  train  12 %")
    display.line("  train  done")

    assert stream.getvalue() == "  train  done\n"


def test_the_line_that_moves_is_gone_before_the_next_one() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    display = Display(stream)
    display.status("abc")
    display.line("done")

    assert stream.getvalue() == "abc\r   \rdone\n"


def test_a_step_is_told_by_its_numbers() -> None:
    for task in ("evaluate", "evaluate_last"):
        assert summary(task, {"metrics": {"map50": 0.5, "map50_95": 0.25}}) == (
            "mAP50 0.500, mAP50:95 0.250"
        )
    assert summary("mine", {"picked": 100, "candidates": 1500, "commit": "ab" * 32}) == (
        "1500 candidates, 100 picked, commit abababababab"
    )
    assert summary("open_round", {}) == ""


def test_the_data_set_is_read_by_image_as_it_was_written(tmp_path: Path) -> None:
    # Empty scenes are rows of their own in a layer; an import names them in no order.
    paths = scenes.write_dataset(tmp_path / "data", training=60, validation=4, pool=4)
    store = Store.open((tmp_path / "store").as_uri(), create=True)
    imported = import_dataset(
        store, paths.training, "all", op_id="1" * 64, unknown_classes="add"
    ).commit
    version = store.read(imported)
    half = version.asset_ids()[::2]

    boxes = version.layer("ground_truth", columns=["asset_id"], ids=half)

    every = version.layer("ground_truth", columns=["asset_id"])
    assert boxes.num_rows == pc.sum(pc.is_in(every["asset_id"], value_set=half)).as_py()


def test_bad_usage_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--runner", "kubernetes"])

    assert caught.value.code == 2
    assert "--runner" in capsys.readouterr().err
