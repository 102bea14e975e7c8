"""An export is whole or not there: interrupted it leaves nothing, killed it is started over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from dataset_sources import OPERATIONS, box, folder_of, image, voc

from mir_ops.dataset import ExportFolders, export_dataset, import_dataset
from mir_ops.errors import ConflictError
from mir_ops.store import Store

_WRITER = """
import sys, time
from pathlib import Path
from mir_ops.dataset import ExportFolders, export_dataset
from mir_ops.store import Store
def stop(share, message):
    print("halfway", flush=True)
    time.sleep(60)
export_dataset(Store.open(sys.argv[1]), "a", ExportFolders.under(Path(sys.argv[2]), "voc"),
    on_progress=stop)
"""


def stored(tmp_path: Path) -> Store:
    store = Store.open((tmp_path / "store").as_uri(), create=True)
    files = {"images/a.jpg": image(1), "gt/a.xml": voc(box("cat", 0, 0, 9, 9))}
    store.register_classes(["cat"])
    import_dataset(store, folder_of(tmp_path / "in", files), "a", op_id=OPERATIONS[0])
    return store


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def interrupt(_share: float, _message: str) -> None:
    raise KeyboardInterrupt


def no_space(_share: float, _message: str) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("fail", [interrupt, no_space])
def test_an_export_that_fails_leaves_nothing(
    tmp_path: Path, fail: Callable[[float, str], None]
) -> None:
    store, out = stored(tmp_path), tmp_path / "new/out"

    with pytest.raises((KeyboardInterrupt, OSError)):
        export_dataset(store, "a", ExportFolders.under(out, "voc"), on_progress=fail)

    assert not (tmp_path / "new").exists()


def test_an_export_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    store, out = stored(tmp_path), folder_of(tmp_path / "out", {"mine.txt": b"keep"})

    with pytest.raises(KeyboardInterrupt):
        export_dataset(store, "a", ExportFolders.under(out, "voc"), on_progress=interrupt)

    assert files_in(out) == ["mine.txt"]
    assert export_dataset(store, "a", ExportFolders.under(out, "voc")).taken["images"] == 1


def test_an_export_that_was_killed_is_started_over_and_two_at_once_do_not_mix(
    tmp_path: Path,
) -> None:
    store, out = stored(tmp_path), tmp_path / "out"
    words = [sys.executable, "-c", _WRITER, (tmp_path / "store").as_uri(), str(out)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "halfway\n"
        left = files_in(out)
        with pytest.raises(ConflictError, match="Another export is writing to"):
            export_dataset(store, "a", ExportFolders.under(out, "voc"))
        assert files_in(out) == left
        os.kill(writer.pid, signal.SIGKILL)

    (out / "images/half.jpg").write_bytes(b"cut")
    export_dataset(store, "a", ExportFolders.under(out, "voc"))

    assert {Path(name).suffix for name in files_in(out)} == {".jpg", ".xml", ".tsv"}
    assert "images/half.jpg" not in files_in(out)


def test_one_folder_of_an_export_may_lie_in_another(tmp_path: Path) -> None:
    store, out = stored(tmp_path), tmp_path / "out"
    folders = ExportFolders(images=out, ground_truth=out / "xml")

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            export_dataset(store, "a", folders, on_progress=interrupt)
    (out / "xml").mkdir(parents=True)
    for folder in (out, out / "xml"):
        (folder / ".mir-export").touch()
    export_dataset(store, "a", folders)

    assert len(files_in(out)) == 4
