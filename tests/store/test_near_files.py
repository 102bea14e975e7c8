"""Segments of a far store that a process keeps as files."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mir_ops.store import keys, near
from mir_ops.store.near import NearFiles


class Far:
    """Gives bodies of bytes, and counts."""

    def __init__(self, *bodies: bytes) -> None:
        self.bodies = {keys.segment(hashlib.sha256(body).hexdigest()): body for body in bodies}
        self.asked: list[str] = []

    def fetch(self, key: str, destination: Path) -> bool:
        self.asked.append(key)
        if key in self.bodies:
            destination.write_bytes(self.bodies[key])
        return key in self.bodies


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_segment_is_fetched_once() -> None:
    far, files = Far(b"one"), NearFiles()
    (key,) = far.bodies

    paths = [files.path(key, far.fetch) for _ in range(3)]

    assert [path and path.read_bytes() for path in paths] == [b"one"] * 3
    assert far.asked == [key]


def test_what_is_not_what_its_name_says_is_not_kept(folder: Path) -> None:
    far, files = Far(b"one"), NearFiles()
    (key,) = far.bodies
    far.bodies[key] = b"two"

    assert files.path(key, far.fetch) is None
    assert [path.name for path in folder.glob("*/*")] == ["lock"]


def test_what_the_far_store_lacks_is_not_here() -> None:
    assert NearFiles().path(keys.segment("0" * 64), Far().fetch) is None


def test_what_was_not_asked_for_longest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "_SPARED", -1.0)
    far = Far(*(bytes([number]) * 100 for number in range(4)))
    files, (a, b, c, d) = NearFiles(most=300), far.bodies
    for key in (a, b, c, a, d):
        files.path(key, far.fetch)
    far.asked.clear()

    for key in (a, c, d, b):
        files.path(key, far.fetch)

    assert far.asked == [b]


def test_what_was_just_given_out_is_spared() -> None:
    far = Far(b"a" * 100, b"b" * 100)
    files = NearFiles(most=100)

    paths = [files.path(key, far.fetch) for key in far.bodies]

    assert all(path is not None and path.exists() for path in paths)


def test_no_room_is_no_failure(folder: Path) -> None:
    far, files = Far(b"one"), NearFiles()
    (key,) = far.bodies

    def full(_key: str, _destination: Path) -> bool:
        raise OSError(28, "No space left on device")

    assert files.path(key, full) is None
    assert files.path(key, far.fetch) is not None


def test_the_folder_goes_with_its_owner_and_what_the_killed_left_with_the_next(
    folder: Path,
) -> None:
    program = (
        "import os, tempfile; tempfile.tempdir = os.environ['WHERE'];"
        "from mir_ops.store.near import NearFiles; kept = NearFiles(); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", program], env={**os.environ, "WHERE": str(folder)})
    assert len(list(folder.iterdir())) == 1

    mine = NearFiles()
    other = NearFiles()

    assert len(list(folder.iterdir())) == 2
    del mine, other
    assert list(folder.iterdir()) == []
