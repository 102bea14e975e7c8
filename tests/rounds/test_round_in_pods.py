"""A round whose executors are pods of a small cluster of ours."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

from round_data import TASKS, House, Run
from small_cluster import CLAIM, NAMESPACE, TOKEN, small_cluster

from mir_ops.executor import bundled_image, run_job
from mir_ops.executor.cluster import open_cluster
from mir_ops.workspace import Workspace


class InPods(House):
    def workspace(self) -> Workspace:
        return replace(super().workspace(), runner="kubernetes")


def test_a_round_goes_through_with_executors_in_pods(tmp_path: Path) -> None:
    house = InPods(tmp_path)
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "namespace").write_text(NAMESPACE)
    sample = bundled_image("sample")
    assert sample.folder is not None

    with small_cluster(tmp_path) as small:
        small.add_own_pod(house.ws.work_dir, CLAIM)
        small.executors[sample.image] = sample.folder
        with closing(open_cluster(url=small.url, account=tmp_path)) as api:
            in_pods = partial(run_job, runner="kubernetes", cluster=api)
            run = Run(house, "run", run_executor=in_pods)
            run.all(TASKS)

    made = [pod["metadata"]["annotations"]["mir.task"] for pod in small.created]
    assert made == ["train", "evaluate", "mine"]
    (model,) = house.ws.catalog.models.list("digits")
    assert "digest" not in model.image  # a cluster does not say which build it ran
    assert house.ws.catalog.rounds.get(run.round_id).state == "closed"
