"""The kubernetes runner against an API server of our own, whose pods are child processes."""

from __future__ import annotations

import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from executor_jobs import op_id
from small_cluster import CLAIM, NAMESPACE, TOKEN, SmallCluster, small_cluster, stamp

from mir_ops.doctor import of_cluster
from mir_ops.errors import InvalidInputError, StoreError
from mir_ops.executor import (
    ExecutorFailedError,
    ExecutorImage,
    Job,
    Limits,
    Outcome,
    bundled_image,
    cluster,
    collect_training,
    pod_runs,
    run_job,
    runs,
)
from mir_ops.executor.cluster import Cluster, open_cluster
from mir_ops.executor.mounts import check_work_volume
from mir_ops.executor.pod_runs import PodRun
from mir_ops.executor.pods import executor_pod, find_work_volume, pod_name
from mir_ops.executor.reaping import reap_pods
from mir_ops.executor.usage import read_usage

SLEEPS = "import time; print('hello', flush=True); time.sleep(600)"
TRAINS = """
import os, time
from pathlib import Path
from mir_executor import run
def train(task):
    for number in range(20):
        print("line", number, flush=True)
        time.sleep(0.02)
    task.write_stage("best", {"model.json": b"{}"}, mean_ap=0.5)
run(train=train)
"""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallCluster]:
    """Its volume is the parent of the work folder."""
    monkeypatch.setattr(pod_runs, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(runs, "_FOLLOW_SECONDS", 0.1)
    monkeypatch.setattr(runs, "_LOOK_SECONDS", 0.1)
    with small_cluster(tmp_path.parent) as server:
        server.add_own_pod(tmp_path, CLAIM, nodeSelector={"mir-ops/gpu": "a100"})
        sample = bundled_image("sample")
        assert sample.folder is not None
        server.executors[sample.image] = sample.folder
        yield server


@pytest.fixture
def account(tmp_path: Path) -> Path:
    folder = tmp_path / "account"
    folder.mkdir()
    (folder / "token").write_text(TOKEN)
    (folder / "namespace").write_text(NAMESPACE)
    return folder


@pytest.fixture
def api(small: SmallCluster, account: Path) -> Iterator[Cluster]:
    with closing(open_cluster(url=small.url, account=account)) as opened:
        yield opened


@pytest.fixture
def scripted(small: SmallCluster, prepare, script) -> Callable[..., Job]:
    """A job of an executor of a few lines."""

    def make(code: str, **changes: Any) -> Job:
        image: ExecutorImage = script(code)
        assert image.folder is not None
        small.executors[image.image] = image.folder
        job: Job = prepare(image=image, **changes)
        return job

    return make


def follow(run: PodRun, lines: list[bytes] | None = None) -> Outcome:
    return run.follow(on_progress=[].append, on_log=([] if lines is None else lines).append)


def following(run: PodRun) -> tuple[threading.Thread, list[Any]]:
    """What following came to, once it ends."""
    came: list[Any] = []

    def work() -> None:
        try:
            came.append(follow(run))
        except (StoreError, InvalidInputError) as error:
            came.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, came


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def certify(small: SmallCluster, account: Path) -> None:
    """From here on it speaks TLS, with a certificate that the account trusts."""
    words = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=127.0.0.1",
    ]
    certificate, key = account / "ca.crt", account / "key.pem"
    more = ["-addext", "subjectAltName=IP:127.0.0.1", "-out", certificate, "-keyout", key]
    subprocess.run(["openssl", *words, *more], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    small.socket = context.wrap_socket(small.socket, server_side=True)


def started(small: SmallCluster, api: Cluster, job: Job) -> PodRun:
    run = PodRun(job, cluster=api)
    assert not run.attach()
    run.start()
    until(lambda: bool(small.logs[run.name]))
    return run


def test_pod_says_everything_about_the_executor(small, api, prepare, tmp_path: Path) -> None:
    job = prepare(limits=Limits(gpus=1, cpus=1.5, memory_bytes=1 << 30, time_seconds=60))
    own = api.own_pod()

    pod = executor_pod(job, own, find_work_volume(own, tmp_path))

    (container,) = pod["spec"].pop("containers")
    assert pod["metadata"]["name"] == f"mir-{job.op_id[:40]}"
    assert pod["metadata"]["labels"]["mir-ops/network"] == "none"
    assert pod["metadata"]["annotations"] == {
        "mir.task": "train",
        "mir.operation": job.op_id,
        "mir.outputs": f"claim mir-work: {tmp_path.name}/jobs/{job.op_id[:32]}/out",
    }
    assert pod["spec"] == {
        "nodeSelector": {"mir-ops/gpu": "a100"},
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "shareProcessNamespace": True,
        "activeDeadlineSeconds": 3660,
        "terminationGracePeriodSeconds": 3,
        "securityContext": {
            "runAsUser": pod["spec"]["securityContext"]["runAsUser"],
            "runAsGroup": pod["spec"]["securityContext"]["runAsGroup"],
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": [
            {"name": "work", **CLAIM},
            {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": str(1 << 30)}},
        ],
    }
    assert pod["spec"]["securityContext"]["runAsUser"] > 0
    below = f"{tmp_path.name}/jobs/{job.op_id[:32]}"
    assert container == {
        "name": "executor",
        "image": job.image.image,
        "imagePullPolicy": "IfNotPresent",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "resources": {
            "requests": {
                "cpu": "1500m",
                "memory": str(1 << 30),
                "ephemeral-storage": str(1 << 30),
                "nvidia.com/gpu": "1",
            },
            "limits": {
                "cpu": "1500m",
                "memory": str(1 << 30),
                "ephemeral-storage": str(64 << 30),
                "nvidia.com/gpu": "1",
            },
        },
        "volumeMounts": [
            {"name": "work", "mountPath": "/in", "subPath": f"{below}/in", "readOnly": True},
            {"name": "work", "mountPath": "/out", "subPath": f"{below}/out"},
            {"name": "shared-memory", "mountPath": "/dev/shm"},
        ],
    }


def test_network_and_root_only_where_declared(small, api, prepare, tmp_path: Path) -> None:
    own = api.own_pod()
    image = replace(bundled_image("sample"), network=True, run_as_root=True)

    pod = executor_pod(prepare(image=image), own, find_work_volume(own, tmp_path))

    assert pod["metadata"]["labels"]["mir-ops/network"] == "outside"
    assert pod["spec"]["securityContext"]["runAsUser"] == 0
    assert pod["spec"]["containers"][0]["securityContext"] == {"allowPrivilegeEscalation": False}
    small.create(pod)  # which the schemas take


def test_a_folder_of_the_node_keeps_its_executors_there(small, api, prepare, tmp_path) -> None:
    host_path = {"hostPath": {"path": "/srv/mir", "type": "Directory"}}
    own = small.add_own_pod(tmp_path, host_path)

    pod = executor_pod(prepare(), own, find_work_volume(own, tmp_path))

    small.create(pod)
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    (term,) = pod["spec"]["affinity"]["nodeAffinity"][required]["nodeSelectorTerms"]
    assert term["matchFields"][0]["values"] == ["node-1"]
    outputs = pod["metadata"]["annotations"]["mir.outputs"]
    assert outputs.startswith(f"node node-1: /srv/mir/{tmp_path.name}/jobs/")


@pytest.mark.parametrize("source", [{"emptyDir": {}}, {"configMap": {"name": "x"}}])
def test_a_work_folder_that_nobody_else_can_mount_is_refused(small, api, tmp_path, source) -> None:
    small.add_own_pod(tmp_path, source)

    with pytest.raises(InvalidInputError, match="is inside this pod only"):
        find_work_volume(api.own_pod(), tmp_path / "jobs")


def test_gpus_are_counted_not_named(small, api, prepare, tmp_path: Path) -> None:
    own = api.own_pod()
    with pytest.raises(InvalidInputError, match="a cluster chooses itself"):
        executor_pod(prepare(limits=Limits(gpu_ids=("3",))), own, find_work_volume(own, tmp_path))


def test_a_job_runs_as_a_pod_and_leaves_none(small, api, prepare) -> None:
    job, said = prepare(), []

    run_job(job, runner="kubernetes", cluster=api, on_progress=said.append)

    assert collect_training(job).best_stage == "best"
    assert said[-1].percent == 100.0
    assert read_usage(job)["gpu_seconds"] == 0.0
    assert pod_name(job.op_id) not in small.pods
    assert len(small.created) == 1


def test_each_line_comes_once_over_breaks_of_the_connection(small, api, scripted) -> None:
    small.log_cuts = [100, 0, 250, 10, 400]
    job, lines = scripted(TRAINS), []

    run_job(job, runner="kubernetes", cluster=api, on_log=lines.append)

    assert [one for one in lines if one.startswith(b"line")] == [
        b"line %d\n" % number for number in range(20)
    ]
    assert job.log_path.read_bytes().count(b"line 7\n") == 1


def test_a_failure_has_the_exit_code_and_the_last_lines(small, api, scripted) -> None:
    job = scripted("print('out of luck'); raise SystemExit(3)")

    with pytest.raises(ExecutorFailedError) as caught:
        run_job(job, runner="kubernetes", cluster=api)

    assert str(caught.value) == (
        "Executor `script` exited with 3\nLast lines of its log:\n  out of luck"
    )
    assert pod_name(job.op_id) not in small.pods


def test_a_result_counts_more_than_a_log_that_cannot_be_read(small, api, prepare) -> None:
    small.refused["log"] = (500, "dial tcp 10.0.0.7:10250: connect: connection refused")
    job = prepare()

    run_job(job, runner="kubernetes", cluster=api)

    assert collect_training(job).best_stage == "best"


def test_the_next_try_goes_on_with_the_same_pod(small, api, scripted) -> None:
    job = scripted(TRAINS)
    started(small, api, job)  # by a task that was killed then

    run = PodRun(job, cluster=api)
    assert run.attach()
    lines: list[bytes] = []
    outcome = follow(run, lines)
    run.remove()

    assert outcome == Outcome(exit_code=0)
    assert len(small.created) == 1
    assert lines[0] == b"line 0\n"
    assert len(lines) == len(set(lines))


def test_the_result_of_a_pod_that_ended_unseen_is_taken(small, api, scripted) -> None:
    job = scripted(TRAINS)
    first = started(small, api, job)
    small.processes[first.name].wait()

    run_job(job, runner="kubernetes", cluster=api)

    assert len(small.created) == 1
    assert "line 19" in job.log_path.read_text()


def test_a_pod_of_another_work_folder_is_replaced(small, api, prepare) -> None:
    job = prepare()
    first = PodRun(job, cluster=api)
    first.start()
    small.pods[first.name]["metadata"]["annotations"]["mir.outputs"] = "claim other: jobs/x/out"

    run_job(job, runner="kubernetes", cluster=api)

    assert len(small.created) == 2
    assert collect_training(job).best_stage == "best"


def test_a_lost_answer_starts_no_second_pod(small, api, prepare) -> None:
    small.broken.update(get=2, create=1, delete=1)
    job = prepare()

    run_job(job, runner="kubernetes", cluster=api)

    assert len(small.created) == 1
    assert collect_training(job).best_stage == "best"


def test_a_server_that_stays_away_leaves_the_executor_running(
    small, api, account, scripted
) -> None:
    job = scripted(SLEEPS)
    name = started(small, api, job).name
    with closing(open_cluster(url=small.url, account=account, patience=0.5)) as hasty:
        run = PodRun(job, cluster=hasty)
        assert run.attach()
        small.refused["get"] = (503, "etcd is away")

        with pytest.raises(StoreError, match="does not answer: etcd is away") as caught:
            follow(run)

    assert caught.value.code == "cluster-lost"
    del small.refused["get"]
    again = PodRun(job, cluster=api)
    assert again.attach()
    assert small.processes[name].poll() is None
    again.remove()


def test_time_limit_ends_the_pod(small, api, scripted) -> None:
    job = scripted(SLEEPS, limits=Limits(time_seconds=0.5))

    with pytest.raises(ExecutorFailedError, match="reached its time limit") as caught:
        run_job(job, runner="kubernetes", cluster=api)

    assert caught.value.code == "executor-timed-out"
    assert small.processes[pod_name(job.op_id)].poll() is not None


def test_too_much_output_ends_the_pod(small, api, scripted) -> None:
    code = "import os, time\nopen(os.environ['MIR_OUT'] + '/x', 'wb').write(b'x' * 9_000_000)\n"
    job = scripted(f"{code}time.sleep(600)", limits=Limits(disk_bytes=8 << 20))

    with pytest.raises(ExecutorFailedError, match="its output grew past its limit"):
        run_job(job, runner="kubernetes", cluster=api)


OWN_FAULT = [
    (
        {
            "containerStatuses": [
                {"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
            ]
        },
        "it used more memory than its limit",
    ),
    (
        {"reason": "Evicted", "message": "Pod ephemeral local storage usage exceeds the limit"},
        "it was evicted: Pod ephemeral local storage usage exceeds the limit",
    ),
    ({"reason": "DeadlineExceeded", "message": "Pod was active too long"}, "time-limit"),
]


@pytest.mark.parametrize(("status", "reason"), OWN_FAULT)
def test_what_the_executor_brought_on_itself_is_its_failure(
    small, api, scripted, status, reason
) -> None:
    run = started(small, api, scripted(SLEEPS))
    thread, came = following(run)

    small.end(run.name, **status)
    thread.join()

    (outcome,) = came
    assert outcome.reason == reason
    run.remove()


def disruption(reason: str, message: str) -> dict[str, Any]:
    said = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
    return {"conditions": [said]}


TAKEN_AWAY = [
    (
        {
            "reason": "Evicted",
            "message": "The node was low on resource: memory. Container executor was using 9Gi, "
            "which exceeds its request of 8Gi.",
        },
        "low on resource",
    ),
    ({"reason": "Terminated", "message": "imminent node shutdown"}, "imminent node shutdown"),
    ({"reason": "UnexpectedAdmissionError", "message": "Allocate failed"}, "Allocate failed"),
    (disruption("PreemptionByScheduler", "for a pod of more priority"), "more priority"),
    (
        {
            "containerStatuses": [
                {"state": {"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown"}}}
            ]
        },
        "ContainerStatusUnknown",
    ),
]


@pytest.mark.parametrize(("status", "told"), TAKEN_AWAY)
def test_what_the_cluster_took_away_is_started_anew(small, api, scripted, status, told) -> None:
    job = scripted(SLEEPS)
    run = started(small, api, job)
    thread, came = following(run)

    small.end(run.name, **status)
    thread.join()

    assert came[0].code == "pod-lost"
    assert told in str(came[0])
    again = PodRun(job, cluster=api)
    assert not again.attach()
    again.start()
    assert len(small.created) == 2
    again.remove()


def test_a_pod_whose_node_is_gone_is_lost(small, api, scripted) -> None:
    """The cluster deletes it, and waits for a node that says nothing more."""
    small.stubborn = True
    job = scripted(SLEEPS)
    run = started(small, api, job)
    thread, came = following(run)

    with small.lock:
        gone = disruption("DeletionByTaintManager", "deleting due to NoExecute taint")
        small.pods[run.name]["status"] |= {**gone, "reason": ""}
        small.pods[run.name]["metadata"]["deletionTimestamp"] = stamp()
    small.processes[run.name].kill()
    thread.join()

    assert came[0].code == "pod-lost"
    assert "deleting due to NoExecute taint" in str(came[0])


def test_a_pod_that_somebody_deleted_is_not_started_again(small, api, scripted) -> None:
    run = started(small, api, scripted(SLEEPS))
    thread, came = following(run)

    small.vanish(run.name)
    thread.join()

    assert came == [Outcome(exit_code=None, reason="its pod was deleted")]


def test_an_image_that_no_node_can_pull_is_named(small, api, prepare, monkeypatch) -> None:
    monkeypatch.setattr(pod_runs, "_IMAGE_SECONDS", 0.5)
    job = prepare()
    waiting = {"reason": "ImagePullBackOff", "message": "Back-off pulling image: not found"}
    small.waiting[job.image.image] = {"containerStatuses": [{"state": {"waiting": waiting}}]}
    lines: list[bytes] = []

    with pytest.raises(InvalidInputError) as caught:
        run_job(job, runner="kubernetes", cluster=api, on_log=lines.append)

    assert str(caught.value) == (
        f"The cluster cannot pull `{job.image.image}`: Back-off pulling image: not found"
    )
    assert lines == [b"Waiting for its pod: Back-off pulling image: not found\n"]
    assert pod_name(job.op_id) not in small.pods


def test_a_pod_that_finds_no_node_waits_for_the_next_try(small, api, prepare, monkeypatch) -> None:
    monkeypatch.setattr(pod_runs, "_START_SECONDS", 0.5)
    job = prepare()
    told = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    small.waiting[job.image.image] = {"conditions": [{**condition, "message": told}]}
    run = PodRun(job, cluster=api)
    run.start()

    with pytest.raises(StoreError, match=r"Insufficient nvidia\.com/gpu") as caught:
        follow(run)

    assert caught.value.code == "pod-not-started"
    assert PodRun(job, cluster=api).attach()
    run.remove()
    assert run.name not in small.pods


REFUSALS = [
    (403, 'pods is forbidden: User "x" cannot create', InvalidInputError, "cluster-refused"),
    (403, "pods is forbidden: exceeded quota: gpus", StoreError, "pod-not-started"),
    (401, "Unauthorized", StoreError, "cluster-lost"),
    (422, 'Pod "x" is invalid: spec: Invalid value', InvalidInputError, "pod-refused"),
]


@pytest.mark.parametrize(("status", "told", "kind", "code"), REFUSALS)
def test_a_refusal_says_what_the_cluster_says(
    small, api, prepare, status, told, kind, code
) -> None:
    small.refused["create"] = (status, told)

    with pytest.raises(kind, match=told[:20]) as caught:
        run_job(prepare(), runner="kubernetes", cluster=api)

    assert caught.value.code == code
    assert caught.value.hint


def test_a_token_that_was_replaced_is_read_again(small, api, account, prepare) -> None:
    api.own_pod()
    small.token = "the next one"
    (account / "token").write_text("the next one\n")

    run_job(prepare(), runner="kubernetes", cluster=api)

    assert len(small.created) == 1


def test_removing_waits_until_nothing_writes_any_more(small, api, scripted) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('x'); time.sleep(600)"
    run = started(small, api, scripted(code))

    run.remove()

    assert small.processes[run.name].poll() is not None
    run.remove()


def test_a_pod_that_its_node_does_not_end_is_told(small, api, scripted, monkeypatch) -> None:
    monkeypatch.setattr(pod_runs, "_REMOVE_SECONDS", 1.0)
    small.stubborn = True
    run = started(small, api, scripted(SLEEPS))

    with pytest.raises(StoreError, match="its node has not ended it yet") as caught:
        run.remove()

    assert f"-n airflow {run.name}" in (caught.value.hint or "")


def test_pods_of_tasks_that_are_over_are_reaped(small, api, prepare) -> None:
    task = {"mir.deployment": "here", "mir.dag": "d", "mir.run": "r", "mir.task": "train"}
    jobs = {
        name: prepare(op_id=op_id(name), labels={**task, **labels})
        for name, labels in {
            "over": {},
            "wanted": {"mir.task": "mine"},
            "young": {},
            "elsewhere": {"mir.deployment": "there"},
        }.items()
    }
    image = jobs["over"].image.image
    small.waiting[image] = {"conditions": []}
    for name, job in jobs.items():
        PodRun(job, cluster=api).start()
        age = 0 if name == "young" else 100
        made = stamp(time.time() - age)
        small.pods[pod_name(job.op_id)]["metadata"]["creationTimestamp"] = made

    reaped = reap_pods(api, "here", is_wanted=lambda one: one.task_id == "mine")

    assert [one.name for one in reaped] == [pod_name(jobs["over"].op_id)]
    left = {pod_name(jobs[name].op_id) for name in ("wanted", "young", "elsewhere")}
    assert left <= small.pods.keys()
    assert pod_name(jobs["over"].op_id) not in small.pods


def test_doctor_says_what_the_runner_lacks(small, api, tmp_path: Path) -> None:
    def findings() -> dict[str, tuple[str, str]]:
        return {one.part: (one.health, one.found) for one in of_cluster(api, tmp_path)}

    assert findings() == {
        "cluster": ("ok", "Kubernetes v1.33.0, namespace airflow"),
        "rights to pods": ("ok", "all that the runner needs"),
        "work volume": ("ok", f"claim mir-work: {tmp_path.name}"),
    }
    small.refused["delete"] = (403, "no")
    small.add_own_pod(tmp_path, {"emptyDir": {}})

    found = findings()

    assert found["rights to pods"] == ("warning", "may not: delete pods")
    assert found["work volume"][0] == "warning"
    assert "is inside this pod only" in found["work volume"][1]


def test_doctor_waits_a_moment_for_a_server_that_is_away(account: Path, tmp_path: Path) -> None:
    with closing(open_cluster(url="http://127.0.0.1:9", account=account, patience=0)) as nobody:
        (finding,) = of_cluster(nobody, tmp_path)

    assert (finding.part, finding.health) == ("cluster", "warning")
    assert "does not answer" in finding.found


def test_a_pod_finds_its_cluster_by_what_every_pod_is_told(
    small, account: Path, prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certify(small, account)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(small.server_address[1]))
    monkeypatch.setattr(cluster, "ACCOUNT", account)
    job = prepare()

    check_work_volume(tmp_path)
    run_job(job, runner="kubernetes")

    assert collect_training(job).best_stage == "best"
    assert len(small.created) == 1


def test_outside_of_a_cluster_it_says_so(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(InvalidInputError, match="and this is none"):
        open_cluster(account=tmp_path)
