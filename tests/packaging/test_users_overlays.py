"""The optional files of docs/users.md, as docker-compose 1.29 reads them with the others."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = shutil.which("docker-compose")
FILES = ("docker-compose.yaml", "docker-compose.proxy.yaml", "docker-compose.sso.yaml")
SETTINGS = {
    "PUBLIC_URL": "https://mir.example.org:12001",
    "LABEL_TOOL_HOST_IP": "https://mir.example.org",
    "OIDC_ISSUER": "https://login.example.org",
    "OIDC_CLIENT_ID": "mir",
    "OIDC_CLIENT_SECRET": "of-the-test",
}


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if COMPOSE is None:
        pytest.skip("docker-compose is not installed")
    settings = tmp_path_factory.mktemp("overlays") / ".env"
    settings.write_text(
        (ROOT / ".env.example").read_text().replace("set_your_", "")
        + "".join(f"{name}={value}\n" for name, value in SETTINGS.items())
    )
    files = [word for name in FILES for word in ("-f", str(ROOT / name))]
    said = subprocess.run(
        [COMPOSE, *files, "--env-file", str(settings), "--profile", "label-studio", "config"],
        env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return dict(yaml.safe_load(said.stdout)["services"])


def test_airflow_believes_the_proxy_and_nobody_else_reaches_it(services: dict[str, Any]) -> None:
    server = services["airflow-apiserver"]

    assert server["command"] == ["api-server", "--proxy-headers"]
    assert server["environment"]["FORWARDED_ALLOW_IPS"] == "*"
    assert server["environment"]["AIRFLOW__API__BASE_URL"] == SETTINGS["PUBLIC_URL"]
    assert server["ports"] == ["127.0.0.1:12001:8080/tcp"]


def test_label_studio_takes_changes_from_its_page_behind_the_proxy(
    services: dict[str, Any],
) -> None:
    settings = services["label-studio"]["environment"]

    assert settings["LABEL_STUDIO_HOST"] == "https://mir.example.org:12007"
    assert settings["CSRF_TRUSTED_ORIGINS"] == settings["LABEL_STUDIO_HOST"]


def test_the_provider_s_secret_is_given_to_the_api_server_alone(services: dict[str, Any]) -> None:
    told = [
        name
        for name, service in services.items()
        if "OIDC_CLIENT_SECRET" in service.get("environment", {})
    ]

    assert told == ["airflow-apiserver"]
    assert f"{ROOT}/docker/sso:/opt/sso:ro" in services["airflow-apiserver"]["volumes"]
