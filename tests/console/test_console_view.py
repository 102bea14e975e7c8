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


def ask(address: str, host: str | None = None) -> tuple[int, str]:
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
    try:
        connection.request("GET", parts.path, headers={"Host": host or parts.netloc})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_the_printed_address_shows_the_version(address: str, shown: Shown) -> None:
    assert address.endswith(f"/projects/digits/versions/{shown.commit.id}")
    assert urlsplit(address).hostname == "127.0.0.1"

    status, html = ask(address)

    assert status == 200
    assert "<b>60</b> images" in html


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example"])
def test_a_name_that_is_not_ours_gets_nothing(address: str, host: str) -> None:
    status, text = ask(address, host)

    assert status == 400
    assert "html" not in text


def test_the_first_page_lists_what_the_store_has(address: str) -> None:
    parts = urlsplit(address)

    status, html = ask(f"http://{parts.netloc}/")

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
