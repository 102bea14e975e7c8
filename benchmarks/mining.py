"""How mining does on a large pool: CPU seconds of all threads, and memory, of each selection.

A pool of a million candidates with five million predictions and vectors of 128 numbers is scored,
and a thousand are selected. k-center is also run over the whole pool, next to the farthest point
sampling of PyPI's `fpsample`, and over a smaller one next to `scikit-activeml`; their picks are
compared with ours before their time counts. Every run is a process of its own. Vectors lie on a
grid, so that the peers' sums of 32-bit numbers are exact, in clusters, with outliers and copies.

The peers are installed into a folder of their own: name one with `--peer` to keep it. With
`--json` one object a line.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from lines import Line, report

HERE = Path(__file__).parent
PEERS = ("fpsample==1.0.2", "scikit-activeml==1.0.1")
LEAST_CPU, MOST_CPU, MOST_MIB = 5.0, 60.0, 4096.0
CLASSES, DIMENSIONS, PER_IMAGE = 80, 128, 5


def make_vectors(count: int, seed: int) -> np.ndarray:
    """Clusters of very different sizes and widths, outliers, near copies, on a grid of 1/32."""
    dice = np.random.default_rng(seed)
    sizes = 1.0 / np.arange(1, 401)
    middles = dice.normal(size=(400, DIMENSIONS)).astype(np.float32)
    widths = dice.uniform(0.05, 0.8, 400).astype(np.float32)
    vectors = np.empty((count, DIMENSIONS), np.float32)
    for low in range(0, count, 1 << 16):
        part = vectors[low : low + (1 << 16)]
        cluster = dice.choice(400, len(part), p=sizes / sizes.sum())
        part[:] = dice.standard_normal(part.shape, np.float32) * widths[cluster, None]
        part += middles[cluster]
        part[::997] *= 3
        copies = part[1::10]
        copies[:] = part[0::10][: len(copies)]
        np.clip(np.rint(part * 32), -128, 128, out=part)
    vectors /= 32
    return vectors


def child(task: str, count: int, wanted: int, path: str) -> dict[str, Any]:
    """One selection in a process of its own: what it picked and what it used."""
    if task == "k-center":
        vectors = np.load(path)
        return _used(lambda: _k_center(vectors, wanted))
    strategy, _, with_what = task.partition("+")
    tables = _tables(count, path, with_what)
    return _used(lambda: _select(strategy, tables, wanted))


def _used(work: Any) -> dict[str, Any]:
    import resource

    def cpu() -> float:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime

    started = cpu()
    picks = work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {"cpu": cpu() - started, "mib": after.ru_maxrss / 1024, "picks": picks}


def _k_center(vectors: np.ndarray, wanted: int) -> list[int]:
    from mir_ops.mining.vectors import Grid, k_center

    picks: list[int] = k_center(vectors, wanted, grid=Grid.over(vectors))[0].tolist()
    return picks


def _select(strategy: str, tables: dict[str, Any], wanted: int) -> list[int]:
    import pyarrow.compute as pc

    from mir_ops import mining

    scores = mining.select(
        strategy, classes={n: str(n) for n in range(CLASSES)}, budget=wanted, seed=0, **tables
    ).scores
    picks: list[int] = pc.indices_nonzero(pc.is_valid(scores["rank"])).to_pylist()
    return picks


def _tables(count: int, path: str, with_what: str) -> dict[str, Any]:
    """A version's tables as the store gives them: sorted by asset, boxes numbered on each."""
    import pyarrow as pa

    from mir_ops.mining import Labelled
    from mir_ops.store import schema

    dice = np.random.default_rng(1)
    raw = np.frombuffer(dice.bytes(32 * count), dtype="S32")
    raw = np.sort(raw)
    ids = pa.Array.from_buffers(schema.ASSET_ID, count, [None, pa.py_buffer(raw.tobytes())])
    del raw
    boxes = count * PER_IMAGE
    owner = np.sort(dice.integers(0, count, boxes))
    first = np.searchsorted(owner, owner)
    columns = {
        "asset_id": ids.take(pa.array(owner)),
        "annotation_id": pa.array((np.arange(boxes) - first).astype(np.uint64)),
        "class_id": pa.array((dice.pareto(1.0, boxes) * 3 % CLASSES).astype(np.int32)),
        "confidence": pa.array(dice.beta(0.5, 1.0, boxes).astype(np.float32)),
    }
    if "probabilities" in with_what:
        offsets = pa.array(np.arange(boxes + 1, dtype=np.int32) * 3)
        keys = pa.array(dice.integers(0, CLASSES, boxes * 3).astype(np.int32))
        items = pa.array((dice.random(boxes * 3) / 3).astype(np.float32))
        columns["class_probs"] = pa.MapArray.from_arrays(offsets, keys, items)
    tables: dict[str, Any] = {
        "assets": pa.table({"asset_id": ids}),
        "predictions": pa.table(columns),
        "labelled": Labelled(boxes={n: 1000 // (n + 1) for n in range(CLASSES)}),
    }
    if "embeddings" in with_what:
        flat = pa.array(np.load(path).ravel())
        vectors = pa.FixedSizeListArray.from_arrays(flat, DIMENSIONS)
        tables["embeddings"] = pa.table([ids, vectors], schema=schema.embeddings(DIMENSIONS))
    return tables


def measure(args: argparse.Namespace, folder: Path, peer: Path | None) -> Iterator[Line]:
    """Every comparison of this benchmark."""
    path, small = folder / "vectors.npy", folder / "small.npy"
    np.save(path, make_vectors(args.candidates, 0))
    np.save(small, make_vectors(args.candidates // 20, 1))
    for task, limit in (
        ("random", LEAST_CPU),
        ("entropy", LEAST_CPU),
        ("least-confidence", LEAST_CPU),
        ("margin", LEAST_CPU),
        ("class-rarity", LEAST_CPU),
        ("hybrid", LEAST_CPU),
        ("hybrid+probabilities", None),
        ("hybrid+embeddings", MOST_CPU),
        ("distinct+embeddings", MOST_CPU),
        ("k-center+embeddings", MOST_CPU),
    ):
        ours = _child(task, args.candidates, args.wanted, path)
        name = f"{task}: {args.wanted} of {args.candidates}"
        yield Line(name=name, ours=ours["cpu"], limit=limit)
        yield Line(name=f"{name}, peak MiB", ours=ours["mib"], limit=MOST_MIB)
    for what, file, wanted in (
        ("fpsample", path, args.wanted),
        ("activeml", small, args.wanted // 10),
    ):
        ours = _child("k-center", 0, wanted, file)
        other = _peer(peer, what, file, wanted)
        yield _beside(f"k-center: {wanted} of {file.stem}, {what}", ours, other, file)


def _beside(name: str, ours: dict[str, Any], other: dict[str, Any] | None, file: Path) -> Line:
    if other is None:
        return Line(name=name, ours=ours["cpu"], note="the peer is not at hand", failed=True)
    vectors = np.load(file, mmap_mode="r")  # of copies either may be picked
    mine, theirs = vectors[ours["picks"]], vectors[other["picks"]]
    differing = np.flatnonzero((mine != theirs).any(axis=1))
    note = f"picks differ from number {differing[0]} on" if len(differing) else "the same picks"
    return Line(
        name=name,
        ours=ours["cpu"],
        other=other["cpu"],
        bar=1.0,
        sense="times less",
        note=note,
        failed=bool(len(differing)),
    )


def _child(task: str, count: int, wanted: int, path: Path) -> dict[str, Any]:
    words = ["--child", task, "--candidates", str(count), "--wanted", str(wanted)]
    return _run([sys.executable, __file__, *words, "--file", str(path)])


def _peer(python: Path | None, what: str, path: Path, wanted: int) -> dict[str, Any] | None:
    if python is None:
        return None
    return _run([python, HERE / "mining_peer.py", what, path, wanted])


def _run(command: list[object]) -> dict[str, Any]:
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
    )
    if done.returncode:
        raise SystemExit(f"{command} failed:\n{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def find_peer(folder: Path) -> Path | None:
    """Python with the peers installed; None where they cannot be had."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        install = [str(python), "-m", "pip", "install", "-q", *PEERS]
        if subprocess.run(install, stdout=sys.stderr, check=False).returncode:
            return None
    return python


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--candidates", type=int, default=1_000_000)
    parser.add_argument("--wanted", type=int, default=1_000)
    parser.add_argument("--peer", type=Path, help="folder of the peers' environment, kept")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--file", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(child(args.child, args.candidates, args.wanted, args.file)))
        return 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mir-mining-") as folder:
        peer = find_peer(args.peer or Path(folder) / "peer")
        missed = report(measure(args, Path(folder), peer), as_json=args.json)
    print(f"{time.monotonic() - started:.0f} seconds", file=sys.stderr)
    return missed


if __name__ == "__main__":
    sys.exit(main())
