"""`make backup` keeps the newest of those that it named itself, and nothing else of yours goes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "docker" / "upkeep.sh"
TIMES = [f"2026-11-{day}T020000Z" for day in (18, 19, 20, 21)]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """With four backups, two that broke off, and folders of other names."""
    (tmp_path / "docker").mkdir()
    shutil.copy(SCRIPT, tmp_path / "docker")
    whole = [*TIMES, "before-upgrade-2026-11-01T020000Z", "2020"]
    for name in (*whole, "2026-11-17T020000Z.partial", "2026-11-22T020000Z.partial"):
        folder = tmp_path / "backups" / name
        folder.mkdir(parents=True)
        (folder / ("SHA256SUMS" if name in whole else "airflow.dump")).touch()
    return tmp_path


def forget(checkout: Path, keep: str, newest: str = TIMES[-1]) -> list[str]:
    (checkout / ".env").write_text(f"KEEP_BACKUPS={keep}\n")
    words = ["bash", str(checkout / "docker" / "upkeep.sh"), "forget_backups", f"backups/{newest}"]
    done = subprocess.run(words, cwd=checkout, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_the_newest_stay_and_what_older_ones_left_goes(checkout: Path) -> None:
    said = forget(checkout, "2")

    assert sorted(path.name for path in (checkout / "backups").iterdir()) == [
        "2020", "2026-11-20T020000Z", "2026-11-21T020000Z", "2026-11-22T020000Z.partial",
        "before-upgrade-2026-11-01T020000Z",
    ]  # fmt: skip
    assert said == [
        f"Removed backups/2026-11-{name}: KEEP_BACKUPS is 2"
        for name in ("17T020000Z.partial", "18T020000Z", "19T020000Z")
    ]


@pytest.mark.parametrize(("keep", "newest"), [("", 3), ("0", 3), ("all", 3), ("2", None)])
def test_nothing_goes_unless_a_number_says_so_and_the_newest_has_no_name_of_yours(
    checkout: Path, keep: str, newest: int | None
) -> None:
    before = sorted((checkout / "backups").iterdir())

    assert forget(checkout, keep, "mine" if newest is None else TIMES[newest]) == []
    assert sorted((checkout / "backups").iterdir()) == before
