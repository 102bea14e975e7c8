"""The demo itself: two rounds on a real Airflow, offline, and nothing left behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mir_ops.catalog import Catalog, apply_project
from mir_ops.demo import stage
from mir_ops.demo.folder import DemoFolder
from mir_ops.demo.local_airflow import LocalAirflow
from mir_ops.demo.progress import DAG, Display, RoundFollower
from mir_ops.demo.project import project_mapping
from mir_ops.demo.scenes import DatasetPaths
from mir_ops.errors import StoreError
from mir_ops.store import Store

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "mir_ops.demo", "--keep", "0")

pytestmark = [pytest.mark.long, pytest.mark.airflow, pytest.mark.timeout(1800)]


def left_behind(folder: Path) -> list[str]:
    """Processes that know the folder, by their command lines or environments."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            known = command + (entry / "environ").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in known:
            found.append(command.replace(b"\0", b" ").decode(errors="replace"))
    return found


def outside_addresses(trace: Path) -> tuple[int, set[str]]:
    """How many connections a trace holds, and the addresses that are not loopback."""
    pattern = re.compile(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"')
    found = [first or second for first, second in pattern.findall(trace.read_text())]
    inside = re.compile(r"^(127\.|::1$|::ffff:127\.|0\.0\.0\.0$|::$)")
    return len(found), {address for address in found if not inside.match(address)}


def test_two_rounds_run_offline_and_the_second_starts_where_the_first_ended(
    tmp_path: Path,
) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    folder, trace = tmp_path / "demo", tmp_path / "trace"

    done = subprocess.run(
        [strace, "-f", "--seccomp-bpf", "-qq", "-o", trace, "-e", "trace=connect,sendto,sendmmsg",
         *COMMAND, "--folder", folder],
        cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^    2     200 .* (better|worse) by 0\.\d+$", done.stdout, re.M)
    connections, outside = outside_addresses(trace)
    assert connections > 28  # each task at least once
    assert outside == set()
    assert left_behind(folder) == []
    first, second = Catalog.open(f"sqlite:///{folder}/.mir/catalog.db").rounds.list("digits")
    assert (first.state, second.state) == ("closed", "closed")
    log = list(Store.open((folder / ".mir" / "store").as_uri()).branch("digits/training").log())
    assert [commit.stats.assets for commit in log][:3] == [540, 440, 340]
    assert "data:image/jpeg" in (folder / "report.html").read_text()


def test_two_demos_at_once_do_not_meet(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "other"]

    demos = [
        subprocess.Popen(
            [*COMMAND, "--rounds", "1", "--folder", folder],
            cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        )
        for folder in folders
    ]  # fmt: skip
    said = [demo.communicate()[0] for demo in demos]

    assert [demo.returncode for demo in demos] == [0, 0], "\n".join(said)
    stores = [Store.open((folder / ".mir" / "store").as_uri()) for folder in folders]
    assert [store.branch("digits/training").tip().stats.assets for store in stores] == [440, 440]
    one, other = (store.branch("digits/mined").read().asset_ids() for store in stores)
    assert one.equals(other)  # the same seed picks the same images
    assert [left_behind(folder) for folder in folders] == [[], []]


def test_ctrl_c_ends_everything_that_was_started(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with subprocess.Popen(
        [*COMMAND, "--folder", folder],
        cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
    ) as demo:  # fmt: skip
        assert demo.stdout is not None
        for line in demo.stdout:
            if "merge_training" in line:
                break
        deadline = time.monotonic() + 60
        while not any("detector" in command for command in left_behind(folder)):
            assert time.monotonic() < deadline
            time.sleep(0.5)

        demo.send_signal(signal.SIGINT)
        said = demo.stdout.read()

        assert demo.wait(timeout=60) == 130
    assert "Interrupted: everything that the demo started has ended" in said
    assert left_behind(folder) == []


def test_the_store_can_be_on_an_s3_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        keys = {"AWS_ACCESS_KEY_ID": "demo", "AWS_SECRET_ACCESS_KEY": "demo-secret"}
        client = boto3.client(
            "s3", endpoint_url=endpoint, region_name="us-east-1",
            aws_access_key_id="demo", aws_secret_access_key="demo-secret",
        )  # fmt: skip
        client.create_bucket(Bucket="mir-demo")

        done = subprocess.run(
            [*COMMAND, "--rounds", "1", "--folder", tmp_path / "demo",
             "--store", f"s3://mir-demo/tests?endpoint_url={endpoint}"],
            cwd=tmp_path, env={**os.environ, **keys}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False,
        )  # fmt: skip

        assert done.returncode == 0, done.stdout + done.stderr
        listed = client.list_objects_v2(Bucket="mir-demo", MaxKeys=1000)["Contents"]
        assert all(entry["Key"].startswith("tests/demo-") for entry in listed)
        assert "demo-secret" not in done.stdout
        assert not (tmp_path / "demo" / ".mir" / "store").exists()
        client.close()
    finally:
        server.stop()


def test_a_failed_task_is_named_with_what_it_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = DemoFolder(tmp_path)
    workspace = stage.open_workspace(folder, store="", runner="process")
    missing = tmp_path / "training.zip"
    paths = DatasetPaths(training=missing, validation=missing, pool=missing, oracle=missing)
    apply_project(workspace.catalog, project_mapping(paths, rounds=1, seed=0))

    with LocalAirflow(
        folder.airflow, dags=ROOT / "dags", connections=stage.connections(folder, workspace)
    ) as airflow:
        airflow.wait_for_dag(DAG)
        run = airflow.client.trigger(DAG, conf={"project": "digits"})
        follower = RoundFollower(
            client=airflow.client, catalog=workspace.catalog, deployment=workspace.deployment,
            run=run, display=Display(), check=lambda: None,
        )  # fmt: skip
        with pytest.raises(StoreError) as caught:
            follower.follow(timeout=120)

    said = capsys.readouterr().out
    assert str(caught.value) == (
        f"Task `import_data` failed: The training source `{missing}` does not exist"
    )
    assert "import_data        FAILED" in said
    assert "The last lines of its log" in said
