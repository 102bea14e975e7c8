from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from executor_jobs import op_id

from mir_ops.errors import ConflictError, InvalidInputError
from mir_ops.executor import (
    ExecutorFailedError,
    ExecutorImage,
    Job,
    Limits,
    Outcome,
    Progress,
    collect_training,
    gpus,
    keeper,
    open_run,
    run_job,
)

Script = Callable[[str], ExecutorImage]

GRANDCHILDREN = """
import os, subprocess, sys, time
from pathlib import Path
out = Path(os.environ["MIR_OUT"])
sleep = [sys.executable, "-c", "import time; time.sleep(300)"]
one = subprocess.Popen(sleep)
two = subprocess.Popen(sleep, start_new_session=True)
(out / "pids").write_text(f"{os.getpid()} {one.pid} {two.pid}")
os.rename(out / "pids", out / "ready")
time.sleep(300)
"""

HANGING = """
import os, time
from pathlib import Path
(Path(os.environ["MIR_OUT"]) / "ready").touch()
time.sleep(600)
"""


def test_training_runs_to_its_end_and_reports(prepare) -> None:
    seen: list[Progress] = []
    job = prepare(config={"idle_seconds": 1.5})

    run_job(job, on_progress=seen.append)

    assert seen[0].state == "running"
    assert seen[-1].percent == 100.0
    assert len(seen) > 2
    result = collect_training(job)
    assert result.metrics == {"mAP": 0.6}
    assert result.class_names == ("dog", "cat")
    assert [stage.name for stage in result.stages] == ["first", "best"]


def test_crash_says_code_message_and_last_lines(prepare) -> None:
    with pytest.raises(ExecutorFailedError) as caught:
        run_job(prepare(config={"crash_code": 7}))
    assert str(caught.value) == (
        "Executor `sample` exited with 7, code 7: crashed as asked\n"
        "Last lines of its log:\n"
        "  crashing with 7"
    )
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.executor_code, again.code) == (
        str(caught.value),
        7,
        "executor-failed",
    )


def test_exception_in_the_executor_is_its_message(script: Script, prepare) -> None:
    image = script(
        "from mir_executor import run\n"
        "def train(task):\n    raise KeyError('lost')\n"
        "run(train=train)\n"
    )
    with pytest.raises(ExecutorFailedError) as caught:
        run_job(prepare(image=image))
    assert str(caught.value).startswith("Executor `script` exited with 1: KeyError: 'lost'\n")


def test_code_of_the_contract_brings_its_hint(script: Script, prepare) -> None:
    image = script(
        "from mir_executor import run\ndef train(task):\n    raise MemoryError\nrun(train=train)\n"
    )
    with pytest.raises(ExecutorFailedError) as caught:
        run_job(prepare(image=image))
    assert caught.value.executor_code == 300103
    assert caught.value.hint is not None
    assert "batch size" in caught.value.hint


def test_time_limit_ends_everything(script: Script, prepare) -> None:
    job = prepare(image=script(GRANDCHILDREN), limits=Limits(time_seconds=2))

    with pytest.raises(ExecutorFailedError) as caught:
        run_job(job)

    assert caught.value.code == "executor-timed-out"
    assert str(caught.value) == "Executor `script` reached its time limit and was ended"
    assert_gone(job.outputs / "ready")


def test_children_end_with_their_executor(script: Script, prepare) -> None:
    job = prepare(image=script(GRANDCHILDREN.rpartition("time.sleep")[0]))

    run_job(job)

    assert_gone(job.outputs / "ready")


def test_interrupted_task_ends_its_executor(script: Script, prepare) -> None:
    job = prepare(image=script(GRANDCHILDREN + "\n"))

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 2.0)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_job(job)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert_gone(job.outputs / "ready")


def test_killed_task_leaves_no_process(script: Script, prepare, tmp_path: Path) -> None:
    job = prepare(image=script(GRANDCHILDREN))
    (tmp_path / "job.pickle").write_bytes(pickle.dumps(job))
    code = (
        "import pickle, sys; from mir_ops.executor import run_job;"
        "run_job(pickle.load(open(sys.argv[1], 'rb')))"
    )
    task = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "job.pickle")])
    wait_for((job.outputs / "ready").exists)

    os.kill(task.pid, signal.SIGKILL)
    task.wait()

    assert_gone(job.outputs / "ready", seconds=10)


RUN_KEPT = """
import pickle, sys
from mir_ops.executor import open_run, owning
job = pickle.load(open(sys.argv[1], "rb"))
with owning(job.folder.parent, job.op_id):
    run = open_run(job, runner="process", keep_seconds=float(sys.argv[2]))
    assert not run.attach()
    run.start()
    run.follow(on_progress=print, on_log=print)
"""


def run_and_kill(job: Job, tmp_path: Path, *, keep_seconds: float) -> None:
    """A task that would let another one take its executor over, killed while it runs."""
    (tmp_path / "job.pickle").write_bytes(pickle.dumps(job))
    words = [sys.executable, "-c", RUN_KEPT, str(tmp_path / "job.pickle"), str(keep_seconds)]
    task = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    wait_for((job.outputs / "ready").exists)
    os.kill(task.pid, signal.SIGKILL)
    task.wait()


def test_next_task_goes_on_with_the_executor_of_a_killed_one(
    script: Script, prepare, tmp_path: Path
) -> None:
    image = script(
        "import os, time\n"
        "from pathlib import Path\n"
        "out = Path(os.environ['MIR_OUT'])\n"
        "with open(out / 'starts', 'a') as file: file.write('x')\n"
        "(out / 'ready').write_text(str(os.getpid()))\n"
        "time.sleep(3)\n"
        "print('the end')\n"
    )
    job = prepare(image=image)
    run_and_kill(job, tmp_path, keep_seconds=60)
    assert is_running(int((job.outputs / "ready").read_text()))
    said: list[bytes] = []

    run = open_run(job, runner="process")
    assert run.attach()
    outcome = run.follow(on_progress=lambda _: None, on_log=said.append)
    run.remove()

    assert outcome == Outcome(exit_code=0)
    assert (job.outputs / "starts").read_text() == "x"
    assert b"".join(said) == b"the end\n"
    assert_gone(job.outputs / "ready")


def test_executor_that_nobody_takes_over_is_ended(script: Script, prepare, tmp_path: Path) -> None:
    job = prepare(image=script(GRANDCHILDREN))

    run_and_kill(job, tmp_path, keep_seconds=1)

    assert_gone(job.outputs / "ready", seconds=15)
    wait_for((job.folder / "ended.json").exists)
    report = json.loads((job.folder / "ended.json").read_text())
    assert report["reason"] == "no task came back for it"
    assert not open_run(job, runner="process").attach()  # it has no result: the next one starts


def test_another_process_with_that_number_is_not_ours(prepare) -> None:
    job = prepare()
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    started = keeper.started_at(stranger.pid)
    assert started is not None
    earlier = {"pid": stranger.pid, "started": f"{started}0", "keep_seconds": 0}
    (job.folder / "process.json").write_text(json.dumps(earlier))

    run = open_run(job, runner="process")

    assert not run.attach()
    run.remove()
    assert stranger.poll() is None
    run_job(job)
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_long_log_keeps_its_end(script: Script, prepare) -> None:
    image = script(
        "import os, sys, time\n"
        "line = 'x' * 1023 + '\\n'\n"
        "for _ in range(80): sys.stdout.write(line * 1024)\n"
        "time.sleep(2.5)\n"
        "print('last words')\n"
        "sys.exit(3)\n"
    )
    job = prepare(image=image)

    with pytest.raises(ExecutorFailedError, match="last words"):
        run_job(job)

    assert job.log_path.stat().st_size < 64 << 20
    assert job.log_path.read_bytes().split(b"\n")[0].endswith(b" bytes of log were left out]")


def test_second_run_of_a_job_waits_and_then_refuses(prepare, monkeypatch) -> None:
    monkeypatch.setattr("mir_ops.executor.owners.WAIT_SECONDS", 0.3)
    job = prepare(config={"hang": True}, limits=Limits(time_seconds=4))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(run_job, job)
        wait_for(job.monitor_path.exists)
        with pytest.raises(ConflictError) as caught:
            run_job(job)
        assert str(caught.value) == f"Job `{job.op_id[:12]}` is running already"
        with pytest.raises(ExecutorFailedError, match="time limit"):
            first.result()


def test_executor_sees_a_clean_environment(script: Script, prepare, monkeypatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    image = script(
        "import json, os, pathlib\n"
        "home = pathlib.Path.home()\n"
        "(home / 'x').write_text('x')\n"
        "out = pathlib.Path(os.environ['MIR_OUT'])\n"
        "(out / 'seen.json').write_text(json.dumps(dict(os.environ)))\n"
    )
    job = prepare(image=image, limits=Limits(cpus=2))

    run_job(job)

    seen = json.loads((job.outputs / "seen.json").read_text())
    assert set(seen) - {"LC_CTYPE"} == {
        "CUDA_VISIBLE_DEVICES",
        "HOME",
        "LANG",
        "MIR_IN",
        "MIR_OUT",
        "OMP_NUM_THREADS",
        "PATH",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONPATH",
        "PYTHONUNBUFFERED",
        "TMPDIR",
    }
    assert not Path(seen["HOME"]).exists()


def test_memory_limit_ends_a_greedy_executor(script: Script, prepare) -> None:
    image = script("x = bytearray(1 << 30)\n")
    with pytest.raises(ExecutorFailedError, match="MemoryError"):
        run_job(prepare(image=image, limits=Limits(memory_bytes=256 << 20)))


def test_old_output_is_gone_before_a_new_try(prepare) -> None:
    job = prepare(config={"crash_code": 1})
    (job.outputs / "models" / "result.yaml").write_text("of an earlier try")

    with pytest.raises(ExecutorFailedError):
        run_job(job)

    assert not (job.outputs / "models" / "result.yaml").exists()


def test_image_without_a_folder_cannot_run_as_a_process(prepare) -> None:
    job = prepare(image=ExecutorImage(name="remote", image="remote:1"), op_id=op_id("remote"))
    with pytest.raises(InvalidInputError) as caught:
        run_job(job)
    assert str(caught.value) == "Executor `remote` has no `start.py` to run as a process"


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def assert_gone(pids: Path, seconds: float = 5.0) -> None:
    for pid in pids.read_text().split():
        wait_for(lambda pid=pid: not is_running(int(pid)), seconds)


def is_running(pid: int) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in "ZX"
    return False


def test_a_gpu_in_use_is_not_given_twice_while_another_is_free(
    script: Script, prepare, tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / "dev").mkdir()
    for number in (0, 1):
        (tmp_path / f"dev/nvidia{number}").touch()
    monkeypatch.setattr(gpus, "_DEVICES", tmp_path / "dev")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    job = prepare(image=script(HANGING), limits=Limits(gpus=1))
    run = open_run(job, runner="process", keep_seconds=60)

    run.start()
    wait_for((job.outputs / "ready").exists)
    with gpus.taken_gpus(Limits(gpus=1)) as (alone, _):
        assert alone == ("1",)
    with gpus.taken_gpus(Limits(gpus=2)) as (both, _):
        assert both == ("1", "0")  # more than are free: one is shared
    with gpus.taken_gpus(Limits(gpus=1, gpu_ids=("0",))) as (asked, _):
        assert asked == ("0",)
    run.remove()

    with gpus.taken_gpus(Limits(gpus=1)) as (again, _):
        assert again == ("0",)
