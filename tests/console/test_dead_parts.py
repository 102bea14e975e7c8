"""A server whose PostgreSQL, whose S3, or both are gone: every page says which, and what to do."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import postgres_server
import pytest
import small_s3_server
from console_data import Client
from model_data import write_shelf
from test_every_page import site_of

from mir_ops.console.access import rules
from mir_ops.console.app import create_app

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(900)]

STORE = "Cannot connect to `s3://bucket/store"
CATALOG = "The catalog `postgresql+psycopg2:"


class Parts:
    """A deployment on an S3 server and a PostgreSQL."""

    def __init__(self, folder: Path, s3: str, postgres: str) -> None:
        catalog = postgres_server.create_database(postgres, "console")
        self.site = site_of(write_shelf(folder, images=9, store_url=s3, catalog_url=catalog))

    def asked(self) -> dict[str, tuple[int, str]]:
        """What each page and each address of the API answers."""
        client = Client(self.site.app)
        return {
            path: (answer.status_code, answer.text)
            for path in self.paths()
            for answer in [client.get(path)]
        }

    def paths(self) -> list[str]:
        values = {**self.site.values, "task": "ab" * 32, "kind": "training", "look": "ab" * 8}
        api = [
            rule.path
            for rule in rules(create_app(lambda: self.site.sources))
            if rule.method == "GET" and rule.path.startswith("/api/v1/projects/{project}")
        ]
        known = [path for path in api if not _names(path) - set(values)]
        return [*self.site.paths().values(), *(_filled(path, values) for path in known)]


def _names(path: str) -> set[str]:
    return {part.strip("{}").partition(":")[0] for part in path.split("/") if part[:1] == "{"}


def _filled(path: str, values: dict[str, str]) -> str:
    for name in _names(path):
        path = path.replace(f"{{{name}:path}}", values[name]).replace(f"{{{name}}}", values[name])
    return path


def test_pages_say_which_part_is_gone_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if postgres_server.is_missing():
        pytest.skip("PostgreSQL's server is not installed here (initdb not found)")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    # What is gone does not come back for being waited for.
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _seconds: None))
    with ExitStack() as s3, ExitStack() as postgres:
        catalog = postgres.enter_context(postgres_server.running())
        parts = Parts(tmp_path, s3.enter_context(small_s3_server.running("none")).url, catalog)
        with postgres_server.running() as other:
            alone = Parts(tmp_path, (tmp_path / "store").as_uri(), other)
        assert_said(alone.asked(), CATALOG)
        s3.close()
        assert_said(parts.asked(), STORE)
        postgres.close()
        found = parts.asked()
        assert_said(found, CATALOG, STORE)
        assert {path for path, (status, _) in found.items() if status != 503} == {"/health"}


def assert_said(found: dict[str, tuple[int, str]], *dead: str) -> None:
    """Of what cannot be shown: which part is away, what to do, and where to read more."""
    refused = {path: text for path, (status, text) in found.items() if status == 503}
    shown = {status for status, _ in found.values()} - {503}

    assert refused
    assert shown <= {200, 400, 404, 422}
    for path, text in refused.items():
        if path.startswith("/api/"):
            said = json.loads(text)["error"]
            assert said["message"].startswith(dead), path
            assert said["hint"], path
            continue
        plain = text.replace("<code>", "`").replace("</code>", "`")
        said = plain.partition("<h1>")[2]
        assert said.startswith(dead), (path, said)
        assert '</h1><p class="muted">Check ' in said, (path, said)
        assert '/health">' in plain, path
    failed = re.findall(r"<th[^>]*>([^<]*)</th><td><span class=.state failed", found["/health"][1])
    assert {name for name in failed if name in ("store", "catalog")} == {
        "store" if each is STORE else "catalog" for each in dead
    }
