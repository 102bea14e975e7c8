"""docker-compose.yaml as Debian's docker-compose 1.29 reads it, and the check of .env."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from mir_ops.labeling import open_backend
from mir_ops.labeling.label_studio import LabelStudioBackend

ROOT = Path(__file__).parents[2]
CHECK = ROOT / "docker" / "check-env.sh"
FILLED = {
    "YMIR_PATH": "/srv/mir",
    "FIRST_ADMIN": "admin@example.org",
    "FIRST_ADMIN_PASSWORD": "pw-admin",
    "APP_SECRET_KEY": "pw-app",
    "JWT_SECRET": "pw-jwt",
    "FERNET_KEY": "pw-fernet",
    "IMAGE_SECRET": "pw-signs-addresses",
    "POSTGRES_PASSWORD": "pwpostgres",
    "S3_ACCESS_KEY": "accesskey",
    "S3_SECRET_KEY": "secretkey",
    "REDIS_PASSWORD": "pwredis",
}


def env_file(folder: Path, **changes: str) -> Path:
    """`.env.example` with its placeholders replaced."""
    lines = []
    for line in (ROOT / ".env.example").read_text().splitlines():
        name = line.partition("=")[0]
        value = {**FILLED, **changes}.get(name)
        lines.append(line if value is None else f"{name}={value}")
    path = folder / "env"
    path.write_text("\n".join(lines) + "\n")
    return path


def compose(folder: Path, **changes: str) -> dict[str, Any]:
    command = shutil.which("docker-compose")
    if command is None:
        pytest.skip("docker-compose is not installed")
    clean = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [command, "--env-file", str(env_file(folder, **changes)), "config"],
        cwd=ROOT, env=clean, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    parsed: dict[str, Any] = yaml.safe_load(done.stdout)
    return parsed


def check_env(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", CHECK, path], capture_output=True, text=True, check=False)


@pytest.mark.docker
def test_every_published_port_is_on_loopback(tmp_path: Path) -> None:
    services = compose(tmp_path)["services"]

    published = {name: s["ports"] for name, s in services.items() if "ports" in s}
    assert published["airflow-apiserver"] == ["127.0.0.1:12001:8080/tcp"]
    assert all(str(port).startswith("127.0.0.1:") for p in published.values() for port in p)
    assert all(service.get("network_mode") != "host" for service in services.values())


@pytest.mark.docker
def test_no_service_asks_for_an_nvidia_part(tmp_path: Path) -> None:
    services = compose(tmp_path, SERVER_RUNTIME="runc")["services"]

    assert "nvidia" not in json.dumps(services).lower()


@pytest.mark.docker
def test_every_service_that_stays_has_a_health_check(tmp_path: Path) -> None:
    services = compose(tmp_path)["services"]

    once = {"check-env", "airflow-init"}
    assert {name for name, s in services.items() if "healthcheck" not in s} == once
    assert all(services[name]["restart"] == "no" for name in once)


@pytest.mark.docker
def test_only_the_scheduler_holds_the_engines_socket(tmp_path: Path) -> None:
    services = compose(tmp_path)["services"]

    assert [n for n, s in services.items() if "docker.sock" in str(s.get("volumes"))] == [
        "airflow-scheduler"
    ]
    assert "/srv/mir:/srv/mir:rw" in services["airflow-scheduler"]["volumes"]


@pytest.mark.docker
def test_the_connection_in_the_environment_is_json(tmp_path: Path) -> None:
    environment = compose(tmp_path)["services"]["airflow-scheduler"]["environment"]

    workspace = json.loads(environment["AIRFLOW_CONN_MIR_DEFAULT"])
    assert workspace["extra"]["runner"] == "docker"
    assert workspace["extra"]["work_dir"] == "/srv/mir"
    assert workspace["password"] == "secretkey"
    assert json.loads(environment["AIRFLOW_CONN_MIR_LABELS"])["conn_type"] == "mir_labels"


@pytest.mark.docker
def test_the_label_tool_is_where_the_connection_says(tmp_path: Path) -> None:
    token = "0123456789abcdef0123456789abcdef01234567"
    of_people = {"LABEL_TOOL_HOST_IP": "https://labels.example.org", "LABEL_TOOL_HOST_PORT": "443"}
    services = compose(
        tmp_path, LABEL_TOOL="label_studio", LABEL_TOOL_TOKEN=f'"Token {token}"', **of_people
    )["services"]

    connection = json.loads(services["airflow-triggerer"]["environment"]["AIRFLOW_CONN_MIR_LABELS"])
    options = {**connection["extra"], "secret_key": connection["password"]}
    studio = open_backend("label-studio", options=options)
    folder = open_backend("folder", options={**options, "path": str(tmp_path)})
    assert isinstance(studio, LabelStudioBackend)
    assert studio == LabelStudioBackend(
        url="http://label-studio:8080", browser_url="https://labels.example.org:443", token=token
    )
    assert folder.kind == "folder"


@pytest.mark.docker
def test_nothing_sends_usage_data(tmp_path: Path) -> None:
    services = compose(tmp_path)["services"]

    airflow = services["airflow-scheduler"]["environment"]
    assert airflow["AIRFLOW__USAGE_DATA_COLLECTION__ENABLED"] == "False"
    assert airflow["GX_ANALYTICS_ENABLED"] == "False"


def test_images_of_others_are_pinned_by_digest() -> None:
    texts = [path.read_text() for path in ROOT.glob("docker-compose*.yaml")]
    texts.append((ROOT / "docker/airflow/Dockerfile").read_text())

    named = re.findall(r"(?:image: \$\{\w+:-|BASE_IMAGE=)([^}\n]+)", "\n".join(texts))

    assert len(named) > 10
    others = [image for image in named if not re.fullmatch(r"mir-ops/[a-z0-9-]+:0\.1\.0", image)]
    assert len(others) == 7
    assert not [one for one in others if not re.fullmatch(r".+:.+@sha256:[0-9a-f]{64}", one)]


def test_a_filled_in_file_is_accepted(tmp_path: Path) -> None:
    done = check_env(env_file(tmp_path))

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", sorted(FILLED))
def test_a_placeholder_left_in_is_refused_by_name(tmp_path: Path, name: str) -> None:
    example = dict(
        line.split("=", 1)
        for line in (ROOT / ".env.example").read_text().splitlines()
        if "=" in line and not line.startswith("#")
    )

    done = check_env(env_file(tmp_path, **{name: example[name]}))

    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == f"error: `{name}` in .env is still the placeholder"
    assert "pw-" not in done.stderr


def test_settings_of_a_label_tool_count_only_with_a_label_tool(tmp_path: Path) -> None:
    done = check_env(env_file(tmp_path, LABEL_TOOL="label_studio"))

    assert done.returncode == 1
    assert "`LABEL_TOOL_HOST_IP` in .env is still the placeholder" in done.stderr
    assert "`LABEL_TOOL_TOKEN` in .env is still the placeholder" in done.stderr


def test_an_unknown_runtime_is_refused(tmp_path: Path) -> None:
    done = check_env(env_file(tmp_path, SERVER_RUNTIME="cuda"))

    assert "`SERVER_RUNTIME` in .env is neither nvidia nor runc" in done.stderr


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5"])
def test_a_term_that_is_no_number_is_refused(tmp_path: Path, value: str) -> None:
    done = check_env(env_file(tmp_path, KEEP_BACKUPS=value))

    assert "`KEEP_BACKUPS` in .env is no number of 1 or more" in done.stderr


def test_the_check_reads_its_environment_too() -> None:
    done = subprocess.run(
        ["sh", CHECK], env={"PATH": os.environ["PATH"], "JWT_SECRET": "set_your_jwt_secret"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    assert "`JWT_SECRET` in .env is still the placeholder" in done.stderr
