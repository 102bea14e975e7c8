"""What Airflow reads to know this package: its connection type and where its parts are."""

from __future__ import annotations

from typing import Any

_TEXT = {"type": ["string", "null"]}


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
        "conn-fields": {
            "store_url": {
                "label": "Store",
                "schema": {"type": "string"},
                "description": "Where dataset versions live: `file:///path` or "
                "`s3://bucket/prefix?endpoint_url=…`.",
            },
            "catalog_url": {
                "label": "Catalog",
                "schema": {"type": "string"},
                "description": "SQLAlchemy URL of the catalog: `sqlite:////path/catalog.db` or "
                "`postgresql+psycopg2://…`.",
            },
            "work_dir": {
                "label": "Work folder",
                "schema": {"type": "string"},
                "description": "Absolute local folder for executor jobs and the asset cache. With "
                "the docker runner it has the same path on the engine's host.",
            },
            "sharing_dir": {
                "label": "Sharing folder",
                "schema": _TEXT,
                "description": "Absolute folder on the workers: runs import paths below it, and "
                "no others.",
            },
            "runner": {
                "label": "Runner",
                "schema": {"type": ["string", "null"], "enum": ["docker", "process", None]},
                "description": "How executors run: as containers, or as child processes.",
            },
            "deployment": {
                "label": "Deployment",
                "schema": _TEXT,
                "description": "Name of this deployment: it is part of every operation id.",
            },
            "console_url": {
                "label": "Console",
                "schema": _TEXT,
                "description": "Where annotators' browsers and the label tool reach the console. "
                "Empty: Airflow's `api.base_url` and `/mir`.",
            },
            "image_secret": {
                "label": "Image secret",
                "schema": {**_TEXT, "format": "password"},
                "description": "At least 16 random characters: signs the addresses at which "
                "annotators load images, for an hour each.",
            },
            "images_from": {
                "label": "Images from",
                "schema": {"type": ["string", "null"], "enum": ["store", "console", None]},
                "description": "Where annotators load images: from the S3 server itself, or "
                "through the console. A store in a folder is always read through the console.",
            },
        },
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
        "conn-fields": {
            "url": {
                "label": "Label Studio",
                "schema": _TEXT,
                "description": "Its address; the token is the password of this connection.",
            },
            "store_url": {
                "label": "Oracle's store",
                "schema": _TEXT,
                "description": "For the oracle: where its held-back ground truth lives.",
            },
            "rev": {
                "label": "Oracle's version",
                "schema": _TEXT,
                "description": "For the oracle: branch or commit of the ground truth.",
            },
            "path": {
                "label": "Folder",
                "schema": _TEXT,
                "description": "For the folder backend: where tasks are written and labels read.",
            },
            "browser_url": {
                "label": "Label Studio for browsers",
                "schema": _TEXT,
                "description": "Where people find Label Studio, if that is another address.",
            },
        },
        "ui-field-behaviour": {
            "hidden-fields": ["host", "port", "schema"],
            "relabeling": {"login": "Access key", "password": "Secret key or token"},
            "placeholders": {"url": "https://labels.example.org"},
        },
    }
