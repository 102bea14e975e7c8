"""What a command prints: data on stdout, as a table or as JSON lines; everything else on stderr."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TextIO

from mir_ops.errors import MirError


class Output:
    """One for each run of `mir`. With `json` every row and record is one JSON object on a line."""

    def __init__(
        self,
        *,
        json: bool = False,
        quiet: bool = False,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
    ) -> None:
        self.json = json
        self.quiet = quiet
        self._stdout = stdout or sys.stdout
        self._stderr = stderr or sys.stderr
        self._progress_width = 0

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[str] = ()
    ) -> None:
        """Print rows under their column names; names in `right` are aligned to the right."""
        if self.json:
            for row in rows:
                self._line(_to_json(dict(zip(columns, row, strict=True))))
            return
        cells = [[_clean(cell) for cell in row] for row in rows]
        widths = [
            max([len(name), *(len(row[i]) for row in cells)]) for i, name in enumerate(columns)
        ]
        for line in ([name.upper().replace("_", " ") for name in columns], *cells):
            padded = (
                cell.rjust(width) if name in right else cell.ljust(width)
                for name, cell, width in zip(columns, line, widths, strict=True)
            )
            self._line("  ".join(padded).rstrip())

    def record(self, values: Mapping[str, object], lines: Sequence[str] | None = None) -> None:
        """Print one record; `lines` is how people read it (default: one `name: value` a line)."""
        if self.json:
            self._line(_to_json(values))
        else:
            if lines is None:
                lines = [f"{name}: {_clean(value)}" for name, value in values.items()]
            for line in lines:
                self._line(line)

    def time(self, time: datetime) -> str:
        return time.isoformat() if self.json else time_title(time)

    def note(self, text: str) -> None:
        """Say what happened, on stderr, unless `--quiet`."""
        if not self.quiet:
            self._aside(text)

    def warning(self, text: str) -> None:
        self._aside(f"warning: {text}")

    def error(self, error: MirError) -> None:
        self._aside(f"error: {error}")
        if error.hint:
            self._aside(f"\nhint: {error.hint}")

    def progress(self, share: float, message: str) -> None:
        """Show how far a command is (0 to 1): one line, rewritten, and only on a terminal."""
        if self.quiet or not self._stderr.isatty():
            return
        text = f"{share:4.0%} {message}"
        self._stderr.write("\r" + text.ljust(self._progress_width))
        self._stderr.flush()
        self._progress_width = len(text)

    def _aside(self, text: str) -> None:
        self._end_progress()
        print(text, file=self._stderr, flush=True)

    def _end_progress(self) -> None:
        if self._progress_width:
            self._stderr.write("\r" + " " * self._progress_width + "\r")
            self._stderr.flush()
            self._progress_width = 0

    def _line(self, text: str) -> None:
        self._end_progress()
        print(text, file=self._stdout)


def counted(number: int, things: str) -> str:
    """`1 image`, `2 images`."""
    return f"{number} {things.removesuffix('s') if number == 1 else things}"


def layer_title(layer: str) -> str:
    """A layer as people read it: of a model's id the first digits, which commands take, too."""
    kind, _, model = layer.partition(":")
    return f"{kind}:{model[:12]}" if len(model) == 64 else layer


def time_title(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}"


def _clean(value: object) -> str:
    """Text from a data set must not move the cursor or split a row."""
    text = "-" if value is None else str(value)
    return "".join(char if char.isprintable() else "�" for char in text)


def _to_json(values: Mapping[str, object]) -> str:
    import json

    return json.dumps(values, ensure_ascii=False, default=str)
