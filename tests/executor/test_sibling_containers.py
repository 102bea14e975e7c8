"""A task in a container: its executors are siblings that the engine of the host starts."""

from __future__ import annotations

import pickle
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from mir_ops.executor import Limits, collect_training

pytestmark = [
    pytest.mark.docker,
    pytest.mark.usefixtures("sample_image"),
    pytest.mark.skipif(
        sys.version_info[:2] != (3, 11),
        reason="the base image's Python 3.11 shall use our packages",
    ),
]

ROOT = Path(__file__).resolve().parents[2]
SOCKET = "/var/run/docker.sock"

TASK = """
import pickle, sys
from contextlib import closing
from pathlib import Path
from mir_ops.errors import MirError
from mir_ops.executor import run_job
from mir_ops.executor.engine import open_engine
from mir_ops.executor.mounts import check_work_dir

job = pickle.loads(Path(sys.argv[1], "job.pickle").read_bytes())
with closing(open_engine()) as engine:
    try:
        check_work_dir(Path(sys.argv[1]), engine)
    except MirError as error:
        print(error.code, error, error.hint, sep="\\n")
        sys.exit(3)
run_job(job, runner="docker")
print("done")
"""


def in_container(engine: Any, job_dir: Path, *mounts: str) -> tuple[int, str]:
    """Run the task in a container that has our code, the engine's socket and these folders."""
    packages = sysconfig.get_paths()["purelib"]
    task = engine.containers.run(
        "mir-ops/base:bookworm",
        ["python3", "-c", TASK, str(job_dir)],
        environment={"PYTHONPATH": f"{ROOT}:{packages}"},
        volumes=[f"{SOCKET}:{SOCKET}", f"{ROOT}:{ROOT}:ro", f"{packages}:{packages}:ro", *mounts],
        network_mode="none",
        detach=True,
    )
    try:
        status = task.wait(timeout=120)["StatusCode"]
        return status, task.logs().decode()
    finally:
        task.remove(force=True)


def test_same_path_on_both_sides_works(engine: Any, prepare, tmp_path: Path) -> None:
    job = prepare(limits=Limits(time_seconds=60))
    (tmp_path / "job.pickle").write_bytes(pickle.dumps(job))

    status, said = in_container(engine, tmp_path, f"{tmp_path}:{tmp_path}")

    assert (status, said.splitlines()[-1:]) == (0, ["done"]), said
    assert collect_training(job).metrics == {"mAP": 0.6}


def test_another_path_on_the_host_is_refused_before_anything_runs(
    engine: Any, prepare, tmp_path: Path
) -> None:
    inside = tmp_path / "elsewhere"
    job = prepare()
    (tmp_path / "job.pickle").write_bytes(pickle.dumps(job))

    status, said = in_container(engine, inside, f"{tmp_path}:{inside}")

    code, message, hint = said.splitlines()
    assert (status, code) == (3, "work-dir-elsewhere")
    assert f"Work folder `{inside}` is `{tmp_path}` on the engine's host" in message
    assert f"-v {inside}:{inside}" in hint
    label = f"mir.operation={job.op_id}"
    assert engine.containers.list(all=True, filters={"label": label}) == []


def test_a_folder_of_the_container_alone_is_refused(engine: Any, prepare, tmp_path: Path) -> None:
    (tmp_path / "job.pickle").write_bytes(pickle.dumps(prepare()))
    mount = f"{tmp_path / 'job.pickle'}:/srv/work/job.pickle"

    status, said = in_container(engine, Path("/srv/work"), mount)

    assert (status, said.splitlines()[0]) == (3, "work-dir-not-shared")
