"""docker/kubernetes: what Airflow makes of our pod is one to Kubernetes, too, strictly.

No cluster runs it here: schemas say whether fields exist and have their types, and no more.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from mir_ops.executor import ExecutorImage, Job, Limits
from mir_ops.executor.pods import executor_pod, find_work_volume

FOLDER = Path(__file__).parents[2] / "docker" / "kubernetes"
VERSIONS = ("1.30", "1.33", "1.37")

# As the executor of Airflow does with `pod_template_file` of a task.
CONSTRUCTED = """
import json
from datetime import UTC, datetime
from kubernetes.client import ApiClient
from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator
pod = PodGenerator.construct_pod(
    dag_id="round__street", task_id="train", pod_id="round-street-train-1", try_number=1,
    kube_image="registry.example/mir-ops/airflow:0.1.0", date=datetime.now(UTC),
    args=["python", "-m", "airflow.sdk.execution_time.execute_workload"], pod_override_object=None,
    base_worker_pod=PodGenerator.deserialize_model_file("TEMPLATE"), namespace="airflow",
    scheduler_job_id="1", run_id="manual__2026-01-01",
)
print("\\n" + json.dumps(ApiClient().sanitize_for_serialization(pod)))
"""

PLACED = """
import json
from airflow.sdk import DAG
from mir_airflow.operators.executor import MineShardOperator, TrainOperator
from mir_airflow.workers import worker_of
with DAG("pods", schedule=None) as dag:
    train = TrainOperator(task_id="train", round_id=0)
    own = TrainOperator(task_id="own", round_id=0, queue="a100")
    MineShardOperator.partial(task_id="shard", round_id=0, **worker_of()).expand(shard=[0])
tasks = [train, own, dag.get_task("shard")]
print("\\n" + json.dumps([task.executor_config.get("pod_template_file") for task in tasks]))
"""


NAMES = ("claim.yaml", "executors.yaml", "network-policy.yaml", "rbac.yaml")


def documents() -> dict[str, dict[str, Any]]:
    """By kind and name."""
    texts = ((FOLDER / name).read_text() for name in NAMES)
    found = [each for text in texts for each in yaml.safe_load_all(text)]
    return {f"{each['kind']}/{each['metadata']['name']}": each for each in found}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", documents())
def test_a_document_is_what_kubernetes_reads(name: str, version: str) -> None:
    kubernetes_validate.validate(documents()[name], version, strict=True)


def test_a_misspelt_field_is_refused() -> None:
    pod = documents()["Pod/executors"]
    pod["spec"]["containers"][0]["volumeMount"] = []

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod, VERSIONS[0], strict=True)


def test_what_airflow_makes_of_the_pod_can_start_executors(
    in_airflow: Callable[..., str],
) -> None:
    code = CONSTRUCTED.replace("TEMPLATE", str(FOLDER / "executors.yaml"))
    pod = json.loads(in_airflow(code).splitlines()[-1])

    for version in VERSIONS:
        kubernetes_validate.validate(pod, version, strict=True)
    spec, (container,) = pod["spec"], pod["spec"]["containers"]
    assert (spec["securityContext"]["runAsNonRoot"], spec["restartPolicy"]) == (True, "Never")
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert (
        spec["serviceAccountName"]
        == documents()["ServiceAccount/mir-ops-tasks"]["metadata"]["name"]
    )
    volume = find_work_volume(pod, Path("/work/jobs"))
    claim = documents()["PersistentVolumeClaim/mir-ops-work"]["metadata"]["name"]
    assert volume.source == {"persistentVolumeClaim": {"claimName": claim}}


def test_policies_leave_executors_no_network() -> None:
    job = Job(
        op_id="0" * 64,
        kind="train",
        image=ExecutorImage(name="x", image="x:1"),
        folder=Path("/work/jobs/0"),
        class_names=(),
        limits=Limits(),
        labels={},
    )
    own = documents()["Pod/executors"]
    volume = find_work_volume(own, Path("/work"))
    labels = executor_pod(job, own, volume)["metadata"]["labels"]
    none, outside = (
        documents()[f"NetworkPolicy/{name}"]["spec"]
        for name in ("mir-ops-executors", "mir-ops-executors-outside")
    )

    assert none["podSelector"]["matchLabels"].items() <= labels.items()
    assert (none["policyTypes"], none["egress"], none["ingress"]) == (["Ingress", "Egress"], [], [])
    assert not outside["podSelector"]["matchLabels"].items() <= labels.items()


def test_tasks_of_executors_have_the_pod_of_their_queue(in_airflow: Callable[..., str]) -> None:
    values = yaml.safe_load((FOLDER / "values.yaml").read_text())
    template = values["config"]["mir"]["pod_template"]

    told = json.loads(in_airflow(PLACED, AIRFLOW__MIR__POD_TEMPLATE=template).splitlines()[-1])

    ours, named = "/opt/mir-ops/pods/executors.yaml", "/opt/mir-ops/pods/a100.yaml"
    assert told == [ours, named, ours]
