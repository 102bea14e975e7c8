"""What a person sees and types at a terminal: progress that goes away, and completion in bash."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mir_ops.cli.main import main

SCRIPT = "import sys; from mir_ops.cli.main import main; sys.exit(main())"


def at_a_terminal(words: list[str], folder: Path) -> str:
    """All that a command writes to a terminal."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *words], cwd=folder, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    found = read_until(ours, None)
    os.close(ours)
    assert child.wait() == 0
    return found


def read_until(terminal: int, wanted: str | None, seconds: float = 60.0) -> str:
    """What comes until it holds the text, or until the other side closes."""
    found, end = "", time.monotonic() + seconds
    while time.monotonic() < end and (wanted is None or wanted not in found):
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                found += os.read(terminal, 65536).decode(errors="replace")
            except OSError:  # the last one closed it
                break
    return found


def shown(written: str) -> list[str]:
    """The lines that are left on the screen."""
    lines = []
    for line in written.replace("\r\n", "\n").split("\n"):
        screen = ""
        for part in line.split("\r"):
            screen = part + screen[len(part) :]
        lines.append(screen.rstrip())
    return lines


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    assert main(["sample-zip"]) == 0
    return tmp_path


def test_progress_tells_rate_and_time_left_and_goes_away(repository: Path) -> None:
    words = ["import", "sample.zip", "--to", "street", "--unknown-types-strategy", "ignore"]
    imported = at_a_terminal(words, repository)
    exported = at_a_terminal(["export", "street", "--to", "out"], repository)

    for written in (imported, exported):
        assert re.search(r"\d+% images 4/4, \d+/s, \d+ s left", written)
        assert not re.search("% images", "\n".join(shown(written)))
    assert shown(imported)[0].startswith("street ")
    assert shown(exported)[:2] == ["images: 4", "ground truth: 3"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes_what_is_typed(repository: Path) -> None:
    words = ["import", "sample.zip", "--to", "street", "--unknown-types-strategy", "ignore"]
    assert main(words) == 0
    (repository / "bin").mkdir()
    program = f'#!/bin/sh\nexec {sys.executable} -c "{SCRIPT}" "$@"\n'
    (repository / "bin/mir").write_text(program)
    (repository / "bin/mir").chmod(0o755)
    ours, theirs = pty.openpty()
    environment = os.environ | {"PATH": f"{repository}/bin:{os.environ['PATH']}", "PS1": "ready> "}
    shell = subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"],
        cwd=repository,
        env=environment | {"TERM": "dumb"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        read_until(ours, "ready> ")
        os.write(ours, b"eval \"$(mir completion bash)\"; echo loa''ded\n")
        assert "loaded\r\nready> " in read_until(ours, "loaded\r\nready> ")
        for typed, wanted in (
            (b"mir chec\t", "mir checkout "),
            (b"mir filter --ex-c\t", "--ex-cis "),
            (b"mir show stre\t", "mir show street "),
        ):
            os.write(ours, typed)
            found = read_until(ours, wanted, 20)
            assert wanted in found, repr(found)
            os.write(ours, b"\x15")  # away with the line
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)
