"""`mir view` as a process of its own."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from console_data import Shown

from mir_ops.cli.main import main
from mir_ops.cli.repository import create_repository


@pytest.fixture(scope="module")
def repository(shown: Shown, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("repository")
    create_repository(root, store_url=shown.store.url)
    return root


@pytest.fixture(scope="module")
def viewer(repository: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "mir_ops.cli.main", "--json", "view", "digits/training"]
    process = subprocess.Popen(
        [*command, "--root", str(repository)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "BROWSER": "false"},
    )
    with process:
        yield process
        process.kill()


@pytest.fixture(scope="module")
def address(viewer: subprocess.Popen[str]) -> str:
    assert viewer.stdout is not None
    return str(json.loads(viewer.stdout.readline())["url"])


def ask(
    address: str, method: str = "GET", body: object = None, **headers: str
) -> tuple[int, str, dict[str, str]]:
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    sent = json.dumps(body) if body is not None else None
    try:
        connection.request(method, target, sent, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), dict(answer.getheaders())
    finally:
        connection.close()


@pytest.fixture(scope="module")
def cookie(address: str) -> str:
    """What the browser keeps of the address that was printed."""
    _, _, headers = ask(address)
    return headers["set-cookie"].partition(";")[0]


@pytest.fixture(scope="module")
def site(address: str) -> str:
    return f"http://{urlsplit(address).netloc}"


def test_the_printed_address_shows_the_version(address: str, site: str, shown: Shown) -> None:
    status, _, headers = ask(address)
    kept, _, flags = headers["set-cookie"].partition(";")

    assert status == 303
    assert headers["location"] == f"/projects/digits/versions/{shown.commit.id}/images"
    assert urlsplit(address).hostname == "127.0.0.1"
    assert flags == " HttpOnly; Path=/; SameSite=lax"
    status, html, _ = ask(site + headers["location"], Cookie=kept)
    assert status == 200
    assert " of 60</p>" in html


@pytest.mark.parametrize("path", ["/", "/static/console.css", "/api/v1/projects", "/nothing"])
def test_nobody_without_the_token_gets_anything(site: str, path: str) -> None:
    for headers in ({}, {"Cookie": "mir_view_0=x"}, {"Authorization": "Bearer x"}):
        status, text, _ = ask(site + path, **headers)

        assert status == 401
        assert text == "Open the address that `mir view` printed: it has the token"
    assert ask(f"{site}{path}?token=x")[0] == 401


def test_the_token_leads_to_no_other_site(address: str, site: str) -> None:
    _, _, headers = ask(f"{site}//evil.example/?{urlsplit(address).query}&a=b")

    assert headers["location"] == "/evil.example/?a=b"


def test_the_person_changes_what_needs_no_airflow(address: str, site: str, cookie: str) -> None:
    token = urlsplit(address).query.partition("=")[2]
    json_sent = {"Content-Type": "application/json"}
    there = f"{site}/api/v1/projects/nobody"
    # Who may is told that there is no such project.
    for headers in ({"Cookie": cookie, "Origin": site}, {"Authorization": f"Bearer {token}"}):
        status, text, _ = ask(there, "PATCH", {"seed": 1}, **headers, **json_sent)
        assert (status, json.loads(text)["error"]["code"]) == (404, "no-such-project")

    for origin in ({}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
        status, text, _ = ask(there, "PATCH", {"seed": 1}, Cookie=cookie, **origin, **json_sent)
        assert (status, text) == (
            403, "A request that changes something must come from this site"
        )  # fmt: skip


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example"])
def test_a_name_that_is_not_ours_gets_nothing(address: str, host: str) -> None:
    status, text, _ = ask(address, Host=host)

    assert status == 400
    assert "html" not in text


def test_the_first_page_lists_what_the_store_has(site: str, cookie: str) -> None:
    status, html, _ = ask(site, Cookie=cookie)

    assert status == 200
    assert "secret/training" in html


def test_a_port_that_is_taken_says_so(
    address: str, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = urlsplit(address).port

    assert main(["view", "digits/training", "--port", str(port), "--root", str(repository)]) == 1
    assert capsys.readouterr().err == (
        f"error: Cannot listen on 127.0.0.1:{port}: Address already in use\n"
        "\nhint: Choose another port with `--port`, or 0 for any free one\n"
    )


def test_an_unknown_version_says_so(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", "digits/trainin", "--root", str(repository)]) == 1
    assert "digits/trainin" in capsys.readouterr().err


def test_ctrl_c_ends_it_quietly(viewer: subprocess.Popen[str], address: str) -> None:
    viewer.send_signal(signal.SIGINT)

    assert viewer.wait(20) in (0, 130)
    assert viewer.stderr is not None
    assert "Traceback" not in viewer.stderr.read()
