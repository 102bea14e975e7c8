"""How the dataset commands do against YMIR's own `mir` and against the bare work.

The same sequence runs in a repository of ours and in one of PyPI's `ymir-cmd` 2.3.0: imports,
merges, filter, sampling, show, export, checkout. What came out is compared with the peer's before
its time counts: images, splits, boxes. Times are CPU seconds of whole commands with everything
that they start, both sides with compiled bytecode. Then the same commands on a million images,
whose rows are generated straight into a store, are compared with plain pyarrow.

The peer needs Python 3.8, which is looked for on the PATH and in pyenv's folder, or named with
`--peer-python`. Without one its lines are not ok and say so. With `--json` one object a line.
"""

from __future__ import annotations

import argparse
import compileall
import filecmp
import os
import re
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lines import Line, report

HERE = Path(__file__).parent
PEER = ("ymir-cmd==2.3.0", "pycocotools<2.0.8", "numpy==1.22.0")
NO_PEER = "no Python 3.8 with ymir-cmd 2.3.0 is at hand: see --peer-python and --peer"
TWO = "class03;class07"
LARGE_CPU, LARGE_MIB = 5.0, 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What one command used: CPU and wall seconds, and MiB at most."""

    cpu: float
    wall: float
    peak: float
    said: str


def run(command: Sequence[object], folder: Path) -> Used:
    """Run a command to its end. The memory of this process is part of its peak: keep it small."""
    known = {name: os.environ[name] for name in os.environ if not name.startswith("PYTHON")}
    known |= {f"GIT_{who}_{what}": "benchmark" for who, what in _IDENTITY}
    with tempfile.TemporaryFile() as said:
        started = time.perf_counter()
        child = subprocess.Popen(
            [str(word) for word in command], cwd=folder, stdout=said, stderr=said, env=known
        )
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read().decode(errors="replace")
    if child.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{text[-4000:]}")
    cpu = usage.ru_utime + usage.ru_stime
    return Used(cpu=cpu, wall=wall, peak=usage.ru_maxrss / 1024, said=text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two programs, with a repository of its own."""

    command: tuple[str, ...]
    folder: Path
    ours: bool

    @property
    def repo(self) -> Path:
        return self.folder / "repo"

    def mir(self, *words: object) -> Used:
        return run([*self.command, *words], self.repo)

    def init(self, classes: int) -> None:
        self.repo.mkdir(parents=True)
        self.mir("init")
        entries = [f"- id: {n}\n  name: class{n:02}\n" for n in range(classes)]
        entries = [f"{e}  create_time: {_TIME}\n  update_time: {_TIME}\n" for e in entries]
        text = f"labels:\n{''.join(entries)}ymir_version: 2.0.0\n"
        (self.repo / ".mir/labels.yaml").write_text(text)

    def import_(self, source: Path, branch: str, *more: object) -> Used:
        words = ["--index-file", source / "index.tsv", "--gt-dir", source / "annotations"]
        words += ["--gen-dir", self.folder / "assets", "--src-revs", "master"]
        words += ["--dst-rev", f"{branch}@import", "--anno-type", "det-box"]
        words += ["--unknown-types-strategy", "stop", "-w", self.folder / "work" / branch]
        self.mir("checkout", "master")
        return self.mir("import", *words, *more)

    def export(self, rev: str) -> Used:
        """Write a version's images to `out` and their VOC files to `out-gt`."""
        words = ["--asset-dir", self.folder / "out", "--gt-dir", self.folder / "out-gt"]
        words += ["--media-location", self.folder / "assets", "--asset-format", "raw"]
        words += ["--src-revs", rev, "-w", self.folder / "work/export"]
        return self.mir("export", *words, "--anno-format", "voc" if self.ours else "det-voc")


_IDENTITY = [(who, what) for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")]
_TIME = "2022-01-01 00:00:00"
_TIMES = 3  # how often a version is made; the median counts


class Comparison:
    """Runs the sequence on both sides and compares what came out."""

    def __init__(self, options: argparse.Namespace, folder: Path, peer: Path | None) -> None:
        self.options = options
        self.folder = folder
        ours = Side(command=(options.mir,), folder=folder / "ours", ours=True)
        self.sides = [ours]
        self.peer_python = peer / "bin/python" if peer else None
        if peer:
            theirs = Side(command=(str(peer / "bin/mir"),), folder=folder / "peer", ours=False)
            self.sides.append(theirs)

    def child(self, task: str, *words: object) -> Used:
        return run([sys.executable, HERE / "datasets_children.py", task, *words], self.folder)

    def both(self, do: Callable[[Side], Used], times: int = 1) -> list[list[Used]]:
        """What each side used, in turn, a few times."""
        rounds = [[do(side) for side in self.sides] for _ in range(times)]
        return [list(found) for found in zip(*rounds, strict=True)]

    def made(self, rev: str, *words: object) -> list[list[Used]]:
        """The same of a command that makes a version: first `rev`, then others like it."""
        revs = [rev, *(f"again{number}-{rev}" for number in range(1, _TIMES))]
        rounds = [[side.mir(*words, "--dst-rev", each) for side in self.sides] for each in revs]
        return [list(found) for found in zip(*rounds, strict=True)]

    def line(
        self, name: str, found: list[list[Used]], bar: float | None, limit: float | None = None
    ) -> Line:
        seconds = [statistics.median(one.cpu for one in side) for side in found]
        other = seconds[1] if len(seconds) > 1 else None
        note = "" if other is not None else NO_PEER
        return Line(
            name=name,
            ours=seconds[0],
            other=other,
            bar=bar,
            sense="times less",
            limit=limit,
            note=note,
        )

    def same(self, rev: str) -> None:
        """Images, splits and boxes of a version are the same on both sides."""
        files = [self.rows(side, rev) for side in self.sides]
        if len(files) > 1 and not filecmp.cmp(*files, shallow=False):
            raise SystemExit(f"{rev} differs: compare {files[0]} with {files[1]}")

    def rows(self, side: Side, rev: str) -> Path:
        """A file with a line for each image and each box of a version, sorted."""
        file = side.folder / f"{rev}.rows"
        if side.ours:
            self.child("rows", side.repo, rev, file)
        else:
            run([self.peer_python, HERE / "datasets_peer.py", rev, file], side.repo)
        return file

    def drawn(self, rev: str, of: str) -> None:
        """Both sides drew as many images; the draws are each side's own."""
        counts = set()
        for side in self.sides:
            part, whole = self.rows(side, rev), self.rows(side, of)
            counts.add(self.child("part", part, whole).said)
        if len(counts) > 1:
            raise SystemExit(f"{rev} has other numbers of images: {counts}")


def imports(do: Comparison) -> Iterator[Line]:
    """In turns, each into a repository of its own; nothing is removed between them.

    Creating files takes a file system longer for minutes after many were removed.
    """
    source, size = do.folder / "train", do.options.images
    ours = do.sides[0]
    linking = replace(ours, folder=do.folder / "linked")
    found: list[list[Used]] = [[] for _ in (*do.sides, linking)]
    bare = []
    for turn in range(_TIMES):
        bare.append(do.child("limit", source, do.folder / f"bare{turn}").cpu)
        for used, side in zip(found, (*do.sides, linking), strict=True):
            own = side if turn == 0 else replace(side, folder=side.folder / f"turn{turn}")
            own.init(do.options.classes)
            more = do.options.link if side is linking else ()
            used.append(own.import_(source, "dataset-training", *more))
    do.same("dataset-training@import")
    do.rows(linking, "dataset-training@import")
    *copying, linked = found
    limit, cpu = (statistics.median(each) for each in (bare, [used.cpu for used in copying[0]]))
    yield do.line(f"import {size}, copying", copying, 3)
    yield Line(name="import, copying, against bare work", ours=cpu, limit=1.5 * limit)
    yield Line(name="import: bare read, SHA-256, write, header, XML", ours=limit)
    cores = statistics.median(used.cpu / used.wall for used in copying[0])
    yield Line(name="import: CPU seconds in a second", ours=cores)
    yield do.line(f"import {size}, hard links", [linked, *copying[1:]], 5)
    for side in do.sides:
        side.import_(do.folder / "val", "dataset-val")
        side.import_(do.folder / "new", "new200")


def merges(do: Comparison) -> Iterator[Line]:
    size = do.options.images
    for name, sources, rev in (
        (f"merge {size} + {size // 5}", "tr:{}@import;va:dataset-val@import", "tr-va@merged"),
        (f"merge {size} + 200", "tr:{}@import;tr:new200@import", "plus@merged"),
    ):
        words = ["--src-revs", sources.format("dataset-training"), "-s", "host"]
        found = do.made(rev, "merge", *words)
        do.same(rev)
        yield do.line(name, found, 10)


def selections(do: Comparison) -> Iterator[Line]:
    source = ["--src-revs", "tr-va@merged"]
    found = do.made("tr-va@filtered", "filter", *source, "-p", TWO)
    do.same("tr-va@filtered")
    yield do.line("filter two classes", found, 8)
    found = do.made("tr-va@sampled", "sampling", *source, "--rate", "0.1")
    do.drawn("tr-va@sampled", "tr-va@merged")
    yield do.line("sampling 10 %", found, 6)


def shown(do: Comparison) -> Iterator[Line]:
    found = do.both(lambda side: side.mir("show", "--src-revs", "tr-va@merged"), 3)
    counts = {re.search(r"(\d+) assets|assets: (\d+)", side[0].said) for side in found}
    if len({next(filter(None, match.groups())) for match in counts if match}) != 1:
        raise SystemExit(f"show counts other images: {[side[0].said for side in found]}")
    yield do.line("show", found, 3)


def exports(do: Comparison) -> Iterator[Line]:
    found = do.both(lambda side: side.export("dataset-training@import"))
    files = []
    for side in do.sides:
        files.append(side.folder / "export.rows")
        do.child("exported", side.folder / "out", side.folder / "out-gt", files[-1])
    if len(files) > 1 and not filecmp.cmp(*files, shallow=False):
        raise SystemExit(f"exports differ: compare {files[0]} with {files[1]}")
    yield do.line("export VOC", found, 3)


def quick(do: Comparison) -> Iterator[Line]:
    branches = iter(["dataset-training", "master"] * 100)

    def checkout(side: Side) -> Used:
        return side.mir("checkout", next(branches) if side.ours else "master")

    yield do.line("checkout", do.both(checkout, 5), 2, 0.20)
    ours = do.sides[0]
    log = [[ours.mir("log", "tr-va") for _ in range(5)]]
    if len(do.sides) > 1:  # it has no such command: its history is git's, behind its start
        log.append([do.sides[1].mir("--version") for _ in range(3)])
    yield do.line("log (peer: its start)", log, 2, 0.20)
    yield do.line("--version", do.both(lambda side: side.mir("--version"), 5), None, 0.10)
    for name in ("log", "checkout"):
        loaded = do.child("loads", name, ours.repo).said.split()
        yield Line(
            name=f"{name}: heavy packages it loads",
            ours=len(loaded),
            limit=0,
            note=" ".join(loaded),
        )


def large(do: Comparison) -> Iterator[Line]:
    """The same operations on rows alone, at the large size and at 10 000 images."""
    added = {}
    for size in sorted({10_000, do.options.large}):
        side = Side(command=do.sides[0].command, folder=do.folder / f"rows-{size}", ours=True)
        side.init(do.options.classes)
        do.child("fill", side.repo, size)
        words = ["merge", "--src-revs", "tr:base;tr:new200", "-s", "host", "--dst-rev"]
        side.mir(*words, "warm@0")  # the first command after a million files were written waits
        runs = [side.mir(*words, f"plus@{number}") for number in range(3)]
        added[size] = statistics.median(used.cpu for used in runs)
    few, many = min(added), max(added)
    yield Line(
        name=f"merge +200 at {many}, against at {few}", ours=added[many], limit=4 * added[few]
    )
    commands = {
        "merge + a fifth": ["merge", "--src-revs", "tr:base;va:other", "-s", "host"],
        "filter two classes": ["filter", "--src-revs", "base", "-p", TWO],
        "sampling 10 %": ["sampling", "--src-revs", "base", "--rate", "0.1"],
        "sampling 10 %, stratified": [
            *("sampling", "--src-revs", "base", "--rate", "0.1", "--stratify", "class")
        ],
    }
    for number, (name, words) in enumerate(commands.items()):
        used = side.mir(*words, "--dst-rev", f"result@{number}")
        do.child("check", side.repo, name, f"result@{number}")
        yield from _limits(f"{name} at {size}", used)
    used = side.mir("stats", "base")
    yield from _limits(f"stats at {size}", used)


def _limits(name: str, used: Used) -> Iterator[Line]:
    yield Line(name=name, ours=used.cpu, limit=LARGE_CPU)
    yield Line(name=f"{name}: MiB", ours=used.peak, limit=LARGE_MIB)


def find_peer(options: argparse.Namespace) -> Path | None:
    """A virtual environment with the peer, made where there is none; None without Python 3.8."""
    place = Path(options.peer or Path(tempfile.gettempdir()) / "mir-benchmark-peer")
    if (place / "bin/mir").exists():
        return place
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [options.peer_python] if options.peer_python else ["python3.8"]
    candidates += [str(path) for path in sorted(pyenv.glob("3.8.*/bin/python3.8"))]
    for python in candidates:
        found = shutil.which(python)
        if found and _succeeds(
            [found, "-c", "import sys; sys.exit(sys.version_info[:2] != (3, 8))"]
        ):
            pip = [place / "bin/pip", "install", "--quiet", *PEER]
            if _succeeds([found, "-m", "venv", place]) and _succeeds(pip):
                return place
    return None


def _succeeds(command: Sequence[object]) -> bool:
    done = subprocess.run([str(word) for word in command], capture_output=True, check=False)
    return done.returncode == 0


def compile_both(peer: Path | None) -> None:
    """Neither side should pay for compiling its modules."""
    purelib = Path(sysconfig.get_paths()["purelib"])
    for folder in (purelib, HERE.parent / "mir_ops"):
        compileall.compile_dir(folder, quiet=2, workers=1)
    if peer:
        _succeeds([peer / "bin/python", "-m", "compileall", "-q", peer / "lib"])


SECTIONS: dict[str, Callable[[Comparison], Iterator[Line]]] = {
    "import": imports,
    "merge": merges,
    "select": selections,
    "show": shown,
    "export": exports,
    "quick": quick,
    "large": large,
}


def measure(options: argparse.Namespace) -> Iterator[Line]:
    peer = None if options.only == "large" else find_peer(options)
    compile_both(peer)
    chosen = options.only.split(",") if options.only else list(SECTIONS)
    with tempfile.TemporaryDirectory(prefix="mir-benchmark-", dir=options.folder) as name:
        do = Comparison(options, Path(name), peer)
        if "import" in chosen:
            for part, size in (
                ("train", options.images),
                ("val", options.images // 5),
                ("new", 200),
            ):
                do.child("generate", do.folder / part, size, options.classes)
        for section in chosen:
            yield from SECTIONS[section](do)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--scale", type=float, default=1, help="share of the 50 000 images")
    parser.add_argument("--large", type=int, default=1_000_000, help="images of the large rows")
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--only", default="", help=f"sections by comma: {', '.join(SECTIONS)}")
    parser.add_argument("--folder", help="where to keep the data meanwhile; default: temporary")
    parser.add_argument("--mir", default=str(Path(sys.executable).with_name("mir")))
    parser.add_argument("--link", nargs="*", default=["--link"], help="words that allow hard links")
    parser.add_argument("--peer", help="virtual environment with ymir-cmd; made where missing")
    parser.add_argument("--peer-python", help="a Python 3.8 to make it with")
    options = parser.parse_args()
    options.images = max(200, int(50_000 * options.scale))
    return options


def main() -> int:
    options = arguments()
    return report(measure(options), as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
