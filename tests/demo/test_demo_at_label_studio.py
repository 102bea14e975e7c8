"""Three rounds on a real scheduler, with the detector and a script at a real Label Studio."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import ceph_gateway
import pytest

from mir_ops.catalog import Catalog
from mir_ops.demo.label_studio import LocalLabelStudio
from mir_ops.labeling.studio_client import StudioClient
from mir_ops.store import Store

pytestmark = [
    pytest.mark.long,
    pytest.mark.airflow,
    pytest.mark.label_studio,
    pytest.mark.timeout(3600),
]
ROUNDS, BUDGET = 3, 100


@contextmanager
def place(name: str) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Words and keys for the demo, that its store is there."""
    if name == "folder":
        yield [], {}
        return
    with ceph_gateway.running() as gateway:
        gateway.client().create_bucket(Bucket="demo")
        keys = {
            "AWS_ACCESS_KEY_ID": ceph_gateway.ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": ceph_gateway.SECRET_KEY,
        }
        yield ["--store", f"s3://demo/tests?endpoint_url={gateway.endpoint}"], keys


@pytest.mark.parametrize("where", ["folder", pytest.param("s3", marks=pytest.mark.s3)])
def test_three_rounds_are_labelled_at_label_studio(
    where: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    if not LocalLabelStudio.is_installed():
        pytest.skip("Label Studio is not installed here: run `make label-studio`")
    if where == "s3" and (missing := ceph_gateway.missing_programs()):
        pytest.skip(f"Ceph is not installed: no {', '.join(missing)}")
    folder = tmp_path / "demo"
    with place(where) as (words, keys):
        done = subprocess.run(
            [sys.executable, "-m", "mir_ops.demo", "--keep", "0", "--folder", folder,
             "--labels", "label-studio", "--rounds", str(ROUNDS), *words],
            cwd=tmp_path, env={**os.environ, **keys}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        for name, value in keys.items():
            monkeypatch.setenv(name, value)
        annotators, sizes = labelled(folder)

    assert annotators == {"labels@example.org"}
    assert sizes[:ROUNDS] == [340 + BUDGET * number for number in range(ROUNDS, 0, -1)]
    rounds = Catalog.open(f"sqlite:///{folder}/.mir/catalog.db").rounds.list("digits")
    assert [each.state for each in rounds] == ["closed"] * ROUNDS
    shown, answers = at_label_studio(folder)
    assert answers == [[1] * BUDGET] * ROUNDS
    expected = "X-Amz-Signature=" if where == "s3" else "/mir/signed/"
    assert all(expected in address for address in shown)
    figure = f"{ROUNDS} rounds, {sum(map(len, answers))} images labelled once each, store: {where}"
    record_property("figure", figure)


def labelled(folder: Path) -> tuple[set[str], list[int]]:
    """Who drew what the rounds merged, and the sizes of the training versions, newest first."""
    from mir_ops.cli.repository import find_repository

    store: Store = find_repository(folder).store
    truth = store.branch("digits/labels").read().layer("ground_truth")
    sizes = [commit.stats.assets for commit in store.branch("digits/training").log()]
    return set(truth["annotator"].to_pylist()), sizes


def at_label_studio(folder: Path) -> tuple[list[str], list[list[int]]]:
    """The addresses of all images, and how often each task of each round was answered."""
    studio = LocalLabelStudio(folder / "label-studio")
    with studio, StudioClient(studio.url, studio.login["token"]) as client:
        projects = client.get("/api/projects/", include="id,description")["results"]
        tasks = [client.tasks(each["id"], "id,data,total_annotations") for each in projects]
    shown = [task["data"]["image"] for of_round in tasks for task in of_round]
    return shown, [[task["total_annotations"] for task in of_round] for of_round in tasks]
