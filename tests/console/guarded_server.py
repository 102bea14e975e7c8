"""Airflow's API server as `airflow api-server` has it, plugins included, on a database of its own.

Started with a fresh AIRFLOW_HOME; writes the file that it is given once it listens.
"""

from __future__ import annotations

import json
import socket
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvicorn
from airflow import models, settings
from airflow.api_fastapi.app import create_app, create_auth_manager
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.models.base import Base
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.models.revoked_token import RevokedToken
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.team import Team
from airflow.serialization.definitions.dag import SerializedDAG
from airflow.serialization.serialized_objects import LazyDeserializedDAG
from airflow.utils.db import add_default_pool_if_not_exists, synchronize_log_template
from airflow.utils.session import create_session
from mir_airflow.project_rounds import project_dag
from sqlalchemy import event, update
from starlette.types import ASGIApp

TEAM_OF_DAG = {
    "active_learning_round": "ops",
    "round__digits": "red",
    "round__secret": "blue",
    "round__walks": "red",
    "unrelated": "green",
}


def main() -> None:
    make_tables()
    tokens = _tokens()
    serve(create_app(), tokens, sys.argv[1])


def make_tables() -> None:
    """An empty database, and the DAGs that the console asks for."""
    event.listen(settings.engine, "connect", _write_lazily)
    models.import_all_models()  # type: ignore[no-untyped-call]
    Base.metadata.create_all(settings.engine)
    add_default_pool_if_not_exists()
    synchronize_log_template()
    with create_session() as session:
        for team in dict.fromkeys(TEAM_OF_DAG.values()):
            bundle = DagBundleModel(name=f"bundle-{team}")
            bundle.teams.append(Team(name=team))
            session.add(bundle)
            session.flush()
        for dag_id, team in TEAM_OF_DAG.items():
            row = DagModel(  # type: ignore[no-untyped-call]
                dag_id=dag_id, bundle_name=f"bundle-{team}"
            )
            session.add(row)
    _write_rounds("walks")


def _write_lazily(connection: Any, _record: object) -> None:
    """FAB commits each of its hundreds of permissions; nobody needs this database afterwards."""
    connection.execute("PRAGMA synchronous=OFF")


def serve(app: ASGIApp, tokens: dict[str, str], ready: str) -> None:
    """Serve until killed; `ready` is the file that tells the port and the tokens."""
    listener = socket.create_server(("127.0.0.1", 0))
    written = Path(ready + ".new")
    written.write_text(json.dumps({"port": listener.getsockname()[1], "tokens": tokens}))
    written.rename(ready)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


def _write_rounds(key: str) -> None:
    """The DAG of a project's rounds, as Airflow's DAG processor writes it."""
    file = {
        "name": key,
        "classes": ["cat"],
        "sources": {"pool": "data.zip"},
        "executor": {"name": "sample"},
    }
    dag = LazyDeserializedDAG.from_dag(project_dag(key, file, "mir_default"))
    bundle = f"bundle-{TEAM_OF_DAG[dag.dag_id]}"
    with create_session() as session:
        SerializedDAG.bulk_write_to_db(bundle, None, [dag], session=session)
        SerializedDagModel.write_dag(dag, bundle, session=session)
        session.execute(update(DagModel).values(is_paused=False))


def _tokens() -> dict[str, str]:
    manager = create_auth_manager()
    manager.init()
    users = {user.username: user for user in SimpleAuthManager.get_users()}
    tokens = {name: manager.generate_jwt(user=user) for name, user in users.items()}
    tokens["expired"] = manager.generate_jwt(user=users["admin"], expiration_time_in_seconds=-3600)
    tokens["logged-out"] = manager.generate_jwt(user=users["admin"])
    claims = manager._get_token_validator().validated_claims(tokens["logged-out"])
    with create_session() as session:
        session.add(RevokedToken(jti=claims["jti"], exp=datetime.now(UTC) + timedelta(days=1)))
    return tokens


if __name__ == "__main__":
    main()
