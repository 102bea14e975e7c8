"""How the dataset store does at a million images, against plain pyarrow, boto3 and fixed limits.

Every operation runs in a process of its own, as does its peer right after it; results are compared
before times count. Times are CPU seconds of the process with all its threads, the median of the
runs of a few processes, ours and the peer's in turn; uploads, which wait, are told by wall time.
With `--json` one object a line: `ok` is null where a number is reported and not judged.
"""

from __future__ import annotations

import argparse
import compileall
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import store_operations
from lines import Line, report

import mir_ops

MEBIBYTE = 1024 * 1024
MOST_BYTES = 96 * 1024
MOST_PUTS = 8
MOST_MEMORY = 1536
LOGGED = 1000
TURNS = 3
APART = {
    "new": "400 new images",
    "few": "200 relabelled boxes",
    "many": "1600 relabelled boxes",
}
UPLOADED = ("count", "each", "megabytes")


class Runs:
    """Runs operations in child processes and keeps what they measured."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder = folder
        self.options = options
        self.peaks: dict[str, float] = {}
        self.told: dict[str, dict[str, Any]] = {}

    def run(self, operation: str, size: int = 0) -> dict[str, Any]:
        """What one operation measured, in its own process."""
        command = [sys.executable, store_operations.__file__, operation, "--size", str(size)]
        command += ["--folder", str(self.folder / str(size))]
        command += ["--endpoint", self.options.endpoint, "--bucket", self.options.bucket]
        command += ["--scale", str(self.options.blobs)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        self.peaks[f"{operation} {size}"] = found["peak"]
        self.told[operation] = found
        return found

    def in_turn(self, one: str, other: str, size: int = 0) -> list[dict[str, float]]:
        """The medians of CPU and wall seconds of two operations that are run in turn."""
        turns = [[self.run(name, size) for name in (one, other)] for _ in range(TURNS)]
        return [
            {
                kind: statistics.median(itertools.chain(*(found[kind] for found in runs)))
                for kind in ("cpu", "wall")
            }
            for runs in zip(*turns, strict=True)
        ]


def commits(runs: Runs, sizes: list[int]) -> Iterator[Line]:
    found = {size: runs.run("commit", size) for size in sizes}
    for size, one in found.items():
        yield Line(
            name=f"commit 200 images on {size}: bytes", ours=one["bytes"], other=MOST_BYTES, bar=1
        )
        yield Line(
            name=f"commit 200 images on {size}: PUTs", ours=one["puts"], other=MOST_PUTS, bar=1
        )
    yield from growth(
        sizes, "commit 200 images: CPU", {s: one["cpu"][1:] for s, one in found.items()}
    )
    first = {size: one["cpu"][:1] for size, one in found.items()}
    yield from growth(sizes, "commit 200 images, first of a process: CPU", first, judged=False)
    yield from growing(runs, sizes, "commit-relabelled", "commit 200 relabelled: CPU", judged=False)


def growth(
    sizes: list[int], name: str, seconds: dict[int, list[float]], *, judged: bool = True
) -> Iterator[Line]:
    """The largest size against the smallest."""
    few, many = min(sizes), max(sizes)
    ours, other = statistics.median(seconds[many]), statistics.median(seconds[few])
    bar = 4 if judged else None
    yield Line(name=f"{name} at {many} / at {few}", ours=ours, other=other, bar=bar)


def growing(
    runs: Runs, sizes: list[int], operation: str, name: str, *, judged: bool = True
) -> Iterator[Line]:
    seconds = {size: runs.run(operation, size)["cpu"] for size in {min(sizes), max(sizes)}}
    yield from growth(sizes, name, seconds, judged=judged)


def against_peer(
    operation: str, name: str, bar: float, *, least: int = 100_000
) -> Callable[[Runs, list[int]], Iterator[Line]]:
    def lines(runs: Runs, sizes: list[int]) -> Iterator[Line]:
        for size in sizes:
            runs.run(f"check-{operation}", size)
            ours, other = runs.in_turn(operation, f"peer-{operation}", size)
            judged = bar if size >= least else None  # below it is starting threads, not rows
            for kind in ("cpu", "wall"):
                yield Line(
                    name=f"{name} at {size}: {kind}",
                    ours=ours[kind],
                    other=other[kind],
                    bar=judged if kind == "cpu" else None,
                )

    return lines


def branches(runs: Runs, sizes: list[int]) -> Iterator[Line]:
    runs.run("check-merge-new", max(sizes))
    for kind, what in APART.items():
        if kind != "many":
            runs.run(f"check-diff-{kind}", max(sizes))
        for operation in ("merge", "diff"):
            name = f"{operation} {what} apart: CPU"
            yield from growing(runs, sizes, f"{operation}-{kind}", name, judged=kind != "many")


def logs(runs: Runs, _sizes: list[int]) -> Iterator[Line]:
    found = runs.run("log", LOGGED)
    yield Line(
        name=f"log of {LOGGED} commits: GETs of objects", ours=found["gets"], other=LOGGED, bar=1
    )
    yield Line(name="the same again: GETs of objects", ours=found["again"], other=1, bar=0)
    yield Line(name="log: CPU", ours=found["cpu"][0], other=found["cpu"][1])


def uploads(runs: Runs, _sizes: list[int]) -> Iterator[Line]:
    for kind in ("small", "large"):
        ours, other = runs.in_turn(f"upload-{kind}", f"peer-upload-{kind}")
        count, each, megabytes = (runs.told[f"upload-{kind}"][k] for k in UPLOADED)
        yield Line(
            name=f"upload of {count} blobs of {each} bytes: MB/s",
            ours=megabytes / ours["wall"],
            other=megabytes / other["wall"],
            bar=0.8,
            sense=">=",
        )


SECTIONS: dict[str, Callable[[Runs, list[int]], Iterator[Line]]] = {
    "commit": commits,
    "read": against_peer("read", "full read", 1.3),
    # 64 small files take a tenth of a second, however large the base is.
    "deltas": against_peer("deltas", "full read with 32 deltas", 2.5, least=1_000_000),
    "select": against_peer("select", "select two classes and commit", 1.5),
    "strangers": against_peer("strangers", "merge of unrelated halves", 1.5),
    "branches": branches,
    "log": logs,
    "upload": uploads,
}


def memory(runs: Runs, size: int) -> Iterator[Line]:
    for operation, peak in runs.peaks.items():
        if operation.endswith(f" {size}") and not operation.startswith(
            ("peer-", "check-", "prepare")
        ):
            yield Line(name=f"peak memory of {operation}: MiB", ours=peak, other=MOST_MEMORY, bar=1)


def measure(options: argparse.Namespace) -> Iterator[Line]:
    sizes = [int(size) for size in options.sizes.split(",")]
    compileall.compile_dir(Path(mir_ops.__file__).parent, quiet=2)
    compileall.compile_dir(Path(__file__).parent, quiet=2)
    chosen = options.only.split(",") if options.only else list(SECTIONS)
    with tempfile.TemporaryDirectory(prefix="mir-benchmark-", dir=options.folder) as name:
        runs = Runs(Path(name), options)
        if {*chosen} - {"log", "upload"}:
            for size in sizes:
                runs.run("prepare", size)
        for section in chosen:
            yield from SECTIONS[section](runs, sizes)
        yield from memory(runs, max(sizes))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--sizes", default="10000,100000,1000000", help="images, by comma")
    parser.add_argument("--only", default="", help=f"sections by comma: {', '.join(SECTIONS)}")
    parser.add_argument("--folder", help="where to keep the data meanwhile; default: temporary")
    parser.add_argument("--endpoint", default="", help="an S3 server; default: moto_server, here")
    parser.add_argument("--bucket", default="bucket", help="its bucket; keys from the environment")
    parser.add_argument("--blobs", type=float, default=1, help="share of the blobs to upload")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    return report(measure(options), as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
