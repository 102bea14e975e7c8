"""Many objects at once in a local directory: flushed together, complete or not there."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from mir_ops.errors import StoreError
from mir_ops.store import keys, local
from mir_ops.store.file_systems import FileSystems, can_flush
from mir_ops.store.local import LocalObjects

BODIES = [str(number).encode() * 9 for number in range(100)]
ITEMS = [(keys.blob(hashlib.sha256(body).hexdigest()), body) for body in BODIES]

pytestmark = pytest.mark.skipif(not can_flush(), reason="this system has no syncfs")


class Killed(BaseException):
    pass


@pytest.fixture
def objects(tmp_path: Path) -> LocalObjects:
    (tmp_path / "store").mkdir()
    return LocalObjects(tmp_path / "store")


def test_many_are_written_with_one_flush_for_files_and_one_for_names(
    objects: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed = []
    flush = FileSystems.flush
    monkeypatch.setattr(FileSystems, "flush", lambda self: (flushed.append(1), flush(self)))
    monkeypatch.setattr(os, "fsync", lambda _: pytest.fail("a flush of one file"))

    objects.create_all(ITEMS)
    objects.sync()

    assert flushed == [1, 1]
    assert [objects.find(key) for key, _ in ITEMS] == BODIES
    assert list(objects.leftovers()) == []


def test_what_is_there_stays_and_is_not_written_again(objects: LocalObjects) -> None:
    objects.create_all(ITEMS)
    before = {key: os.stat(objects.root / key).st_ino for key, _ in ITEMS}

    objects.create_all([*ITEMS, ITEMS[0], ("blobs/sha256/aa/bb/new", b"new")])

    assert {key: os.stat(objects.root / key).st_ino for key, _ in ITEMS} == before
    assert objects.find("blobs/sha256/aa/bb/new") == b"new"


def test_a_damaged_object_is_named(objects: LocalObjects) -> None:
    objects.create_all(ITEMS)
    (objects.root / ITEMS[7][0]).write_bytes(b"?")

    with pytest.raises(StoreError) as caught:
        objects.create_all(ITEMS)

    assert caught.value.code == "corrupt-object"
    assert ITEMS[7][0] in str(caught.value)


@pytest.mark.parametrize("step", [1, 50, 100])
@pytest.mark.parametrize("what", ["_fill", "rename", "flush"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), Killed()])
def test_a_failure_at_any_step_leaves_whole_objects(
    objects: LocalObjects,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    what: str,
    error: BaseException,
) -> None:
    owner = {"_fill": local, "rename": os, "flush": FileSystems}[what]
    do, done = getattr(owner, what), 0

    def failing(*arguments: object) -> None:
        nonlocal done
        done += 1
        if done == step or what == "flush":
            raise error
        do(*arguments)

    monkeypatch.setattr(owner, what, failing)
    with pytest.raises((StoreError, Killed)) as caught:
        objects.create_all(ITEMS)
    monkeypatch.undo()

    found = {key: objects.find(key) for key, _ in ITEMS}
    assert all(found[key] in (None, body) for key, body in ITEMS)
    assert what == "rename" or not any(found.values())
    assert isinstance(caught.value, Killed) or caught.value.code == "disk-full"
    assert list(objects.leftovers()) == []
    objects.create_all(ITEMS)
    objects.sync()
    assert [objects.find(key) for key, _ in ITEMS] == BODIES


def test_files_of_the_same_file_system_are_linked(objects: LocalObjects, tmp_path: Path) -> None:
    source = tmp_path / "picture"
    source.write_bytes(b"pixels")

    left = objects.link_all([("blobs/a", str(source)), ("blobs/a", str(source))])
    objects.sync()

    assert left == []
    assert (objects.root / "blobs/a").samefile(source)


def test_files_that_cannot_be_linked_are_left_to_be_copied(
    objects: LocalObjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def elsewhere(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", elsewhere)

    assert objects.link_all([("blobs/a", f"{tmp_path}/x")]) == [("blobs/a", f"{tmp_path}/x")]
