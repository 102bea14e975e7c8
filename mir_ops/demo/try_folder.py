"""`make try DIR=…`: import a folder of one's own, check it, count it, and look at it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mir_ops.demo.folder import DemoFolder, claim
from mir_ops.demo.progress import Display
from mir_ops.errors import InvalidInputError, MirError, NotFoundError

if TYPE_CHECKING:
    from mir_ops.dataset import ImportResult
    from mir_ops.store import Store, Version

ROOT: Final = Path(__file__).resolve().parents[2]
BRANCH: Final = "try"
FINDINGS: Final = 12
CLASSES: Final = 40


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; the exit code is 0 done, 1 we said why, 2 bad usage, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="make try DIR=…", description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / ".mir-try", help="where it works")
    parser.add_argument("--classes", default="", help="take these only, separated by commas")
    parser.add_argument("source", help="a folder or zip: Pascal VOC, or images alone")
    given = parser.parse_args(argv)
    for name in ("MIR_STORE", "MIR_CATALOG"):
        os.environ.pop(name, None)
    display = Display()
    try:
        source = _source(given.source)
        with claim(given.folder) as folder:
            _try(source, _names(given.classes), folder, display)
    except MirError as error:
        display.line(f"error: {error}" + (f"\n\nhint: {error.hint}" if error.hint else ""))
        return 1
    except OSError as error:
        display.line(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        display.line("Interrupted")
        return 130
    return 0


def _try(source: Path, classes: tuple[str, ...], folder: DemoFolder, display: Display) -> None:
    from mir_ops.cli.repository import create_repository

    store = create_repository(folder.root).store
    display.heading(f"Import {source}")
    result = _import(store, source, classes, display)
    for line in result.report.lines():
        display.line(f"  {line}")
    version = store.read(result.commit)
    _count(version, display)
    display.heading("Gate: what would stop a round")
    verdict = _gate(version, folder, display)
    display.heading("Page of images")
    page = folder.root / "index.html"
    notes = [f"{issue.text}: {issue.count}. {issue.hint}" for issue in result.report.issues]
    _write_page(store, version, page, source=source, notes=[verdict, *notes])
    display.line(f"  {page.as_uri()}")
    display.line("")
    display.line(f"All images: .venv/bin/mir --root {folder.root} view {BRANCH}")
    _open(page, display)


def _import(store: Store, source: Path, classes: tuple[str, ...], display: Display) -> ImportResult:
    from mir_ops.dataset import import_dataset, source_digest
    from mir_ops.store import operation_id

    store.register_classes(classes)
    result = import_dataset(
        store,
        source,
        BRANCH,
        op_id=operation_id("try", {"source": source_digest(source), "classes": list(classes)}),
        unknown_classes="ignore" if classes else "add",
        on_progress=lambda share, message: display.status(f"  {share:4.0%} {message}"),
    )
    display.status("")
    return result


def _count(version: Version, display: Display) -> None:
    from mir_ops.cli.output import Output

    truth = version.stats.layers.get("ground_truth")
    if truth is None or not truth.rows:
        return
    display.heading("Classes")
    named = zip(version.taxonomy.ids, version.taxonomy.names, strict=True)
    rows = [
        (name, truth.classes.get(class_id, 0), truth.class_assets.get(class_id, 0))
        for class_id, name in named
    ]
    rows.sort(key=lambda row: (-row[1], row[0]))
    Output().table(("class", "boxes", "images"), rows[:CLASSES], right=("boxes", "images"))
    if len(rows) > CLASSES:
        display.line(f"... and {len(rows) - CLASSES} more")


def _gate(version: Version, folder: DemoFolder, display: Display) -> str:
    """Judge the version as the training data of a project; say the verdict and return it."""
    from mir_ops.quality import check

    report = check(training=version, validation=None)
    (folder.root / "gate.html").write_text(report.to_html(), encoding="utf-8")
    truth = version.stats.layers.get("ground_truth")
    if truth is None or not truth.rows:
        # Every rule about boxes is broken then, which tells nobody anything.
        verdict = "No labels yet, so there is nothing to train on: a round starts from some"
        broken = [finding.line() for finding in report.broken if finding.table == "assets"]
    elif report.blocked:
        verdict = "The gate would stop a round"
        broken = report.message().splitlines()
    else:
        verdict = "The gate would let this pass"
        broken = [finding.line() for finding in report.broken]
    display.line(f"  {verdict}")
    for line in broken[:FINDINGS]:
        display.line(f"  {line}")
    display.line(f"  All rules: {(folder.root / 'gate.html').as_uri()}")
    return verdict


def _write_page(
    store: Store, version: Version, page: Path, *, source: Path, notes: Sequence[str]
) -> None:
    from mir_ops.console.report import write_folder_page

    write_folder_page(store, version, page, title=source.name, notes=notes)


def _source(text: str) -> Path:
    if not text:
        raise InvalidInputError(
            "No folder named", code="usage", hint="make try DIR=path/to/your/images"
        )
    path = Path(text).expanduser()
    if not path.exists():
        raise NotFoundError(
            f"`{path}` does not exist",
            code="no-such-source",
            hint="Name a folder or a zip: make try DIR=path/to/your/images",
        )
    return path.resolve()


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _open(page: Path, display: Display) -> None:
    """Only where there is a desktop: on a server a text browser would take the terminal."""
    import webbrowser

    desktop = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if display.live and (sys.platform == "darwin" or desktop):
        webbrowser.open(page.as_uri())


if __name__ == "__main__":
    sys.exit(main())
