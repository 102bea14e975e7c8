"""What Airflow reads to know this package: its connection type and where its parts are."""

from __future__ import annotations

from typing import Any

_NEEDED = {"type": "string"}
_TEXT = {"type": ["string", "null"]}


def _field(label: str, description: str, schema: dict[str, Any] = _TEXT) -> dict[str, Any]:
    return {"label": label, "schema": schema, "description": description}


_MIR_FIELDS = {
    "store_url": _field(
        "Store",
        "Where dataset versions live: `file:///path` or `s3://bucket/prefix?endpoint_url=…`.",
        _NEEDED,
    ),
    "catalog_url": _field(
        "Catalog",
        "SQLAlchemy URL of the catalog: `sqlite:////path/catalog.db` or `postgresql+psycopg2://…`.",
        _NEEDED,
    ),
    "work_dir": _field(
        "Work folder",
        "Absolute local folder for executor jobs and the asset cache. With "
        "the docker runner it has the same path on the engine's host, with the runner kubernetes "
        "it lies in a volume that other pods can mount.",
        _NEEDED,
    ),
    "sharing_dir": _field(
        "Sharing folder",
        "Absolute folder on the workers: runs import paths below it, and no others.",
    ),
    "runner": _field(
        "Runner",
        "How executors run: as containers, as pods, or as child processes.",
        {"type": ["string", "null"], "enum": ["docker", "kubernetes", "process", None]},
    ),
    "deployment": _field(
        "Deployment", "Name of this deployment: it is part of every operation id."
    ),
    "console_url": _field(
        "Console",
        "Where annotators' browsers and the label tool reach the console. "
        "Empty: Airflow's `api.base_url` and `/mir`.",
    ),
    "image_secret": _field(
        "Image secret",
        "At least 16 random characters: signs the addresses at which "
        "annotators load images, for an hour each.",
        {**_TEXT, "format": "password"},
    ),
    "images_from": _field(
        "Images from",
        "Where annotators load images: from the S3 server itself, or "
        "through the console. A store in a folder is always read through the console.",
        {"type": ["string", "null"], "enum": ["store", "console", None]},
    ),
}

_LABELS_FIELDS = {
    "url": _field("Label Studio", "Its address; the token is the password of this connection."),
    "store_url": _field(
        "Oracle's store", "For the oracle: where its held-back ground truth lives."
    ),
    "rev": _field("Oracle's version", "For the oracle: branch or commit of the ground truth."),
    "path": _field("Folder", "For the folder backend: where tasks are written and labels read."),
    "browser_url": _field(
        "Label Studio for browsers",
        "Where people find Label Studio, if that is another address.",
    ),
}


def get_provider_info() -> dict[str, Any]:
    return {
        "package-name": "mir-ops",
        "name": "mir-ops",
        "description": "Active-learning rounds for vision datasets.",
        "hooks": [
            {"integration-name": "mir-ops", "python-modules": ["mir_airflow.hooks.mir"]},
        ],
        "operators": [
            {
                "integration-name": "mir-ops",
                "python-modules": [
                    "mir_airflow.operators.approval",
                    "mir_airflow.operators.datasets",
                    "mir_airflow.operators.executor",
                    "mir_airflow.operators.jobs",
                    "mir_airflow.operators.labels",
                    "mir_airflow.operators.models",
                    "mir_airflow.operators.opening",
                    "mir_airflow.operators.reaper",
                    "mir_airflow.operators.rounds",
                    "mir_airflow.operators.starting",
                ],
            },
        ],
        "sensors": [
            {"integration-name": "mir-ops", "python-modules": ["mir_airflow.sensors.labels"]},
        ],
        "triggers": [
            {"integration-name": "mir-ops", "python-modules": ["mir_airflow.triggers.labels"]},
        ],
        "connection-types": [_mir_connection(), _labels_connection()],
    }


def _mir_connection() -> dict[str, Any]:
    return {
        "connection-type": "mir",
        "hook-class-name": "mir_airflow.hooks.mir.MirHook",
        "hook-name": "MIR workspace",
        "conn-fields": _MIR_FIELDS,
        "ui-field-behaviour": {
            "hidden-fields": ["host", "port", "schema"],
            "relabeling": {"login": "Access key", "password": "Secret key"},
            "placeholders": {"store_url": "s3://bucket/prefix", "deployment": "local"},
        },
    }


def _labels_connection() -> dict[str, Any]:
    return {
        "connection-type": "mir_labels",
        "hook-class-name": "mir_airflow.hooks.mir.LabelsHook",
        "hook-name": "MIR labels",
        "conn-fields": _LABELS_FIELDS,
        "ui-field-behaviour": {
            "hidden-fields": ["host", "port", "schema"],
            "relabeling": {"login": "Access key", "password": "Secret key or token"},
            "placeholders": {"url": "https://labels.example.org"},
        },
    }
