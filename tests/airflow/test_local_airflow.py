"""The Airflow of one's own: only ours, only here, and quickly gone."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from processes import listening_addresses, processes_below

from mir_ops.demo.local_airflow import LocalAirflow
from mir_ops.errors import InvalidInputError
from mir_ops.rounds.airflow_api import AirflowClient

LOOPBACK = "0100007F"


def test_the_users_own_airflow_stays_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", "/home/somebody/airflow")
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql://production/airflow")
    monkeypatch.setenv("AIRFLOW_CONN_MIR_DEFAULT", "mir://production")

    env = LocalAirflow(tmp_path, dags=tmp_path).environment(8099)

    assert env["AIRFLOW_HOME"] == str(tmp_path)
    assert env["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == f"sqlite:///{tmp_path}/airflow.db"
    assert not [name for name, value in env.items() if "production" in value]
    assert env["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert env["AIRFLOW__USAGE_DATA_COLLECTION__ENABLED"] == "False"


def test_passwords_and_keys_are_kept_private_and_used_again(tmp_path: Path) -> None:
    first = LocalAirflow(tmp_path, dags=tmp_path, users={"ann": "admin", "bob": "viewer"})
    again = LocalAirflow(tmp_path, dags=tmp_path, users={"ann": "admin", "bob": "viewer"})

    env = first.environment(8099)

    assert again.environment(8099) == env
    assert set(first.passwords) == {"ann", "bob"}
    for name in ("passwords.json", "keys.json"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert len(set(json.loads((tmp_path / "keys.json").read_text()).values())) == 3


@pytest.mark.airflow
def test_it_listens_on_this_machine_only(airflow: LocalAirflow) -> None:
    ours = set(processes_below(airflow.home))

    assert len(ours) >= 5
    assert listening_addresses(ours) == {LOOPBACK}


@pytest.mark.airflow
def test_nobody_comes_in_without_the_password(airflow: LocalAirflow) -> None:
    stranger = AirflowClient(airflow.url, username="admin", password="admin", trust_env=False)

    with stranger, pytest.raises(InvalidInputError) as caught:
        stranger.dag_ids()

    assert caught.value.code == "airflow-login"
