"""The peers' farthest point sampling, in their own Python: picks and CPU seconds as JSON."""

from __future__ import annotations

import json
import resource
import sys

import numpy as np


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def fpsample(vectors: np.ndarray, wanted: int) -> list[int]:
    from fpsample import fps_sampling

    # Of equals it takes the last, ours the first.
    last = len(vectors) - 1
    picks = fps_sampling(np.ascontiguousarray(vectors[::-1]), wanted, start_idx=last)
    return [last - int(pick) for pick in picks]


def activeml(vectors: np.ndarray, wanted: int) -> list[int]:
    from skactiveml.pool import k_greedy_center

    labels = np.full(len(vectors), np.nan)
    labels[0] = 0.0
    picks, _ = k_greedy_center(vectors, labels, batch_size=wanted - 1, random_state=0)
    return [0, *(int(pick) for pick in picks)]


def main(peer: str, path: str, wanted: str) -> None:
    vectors = np.load(path)
    started = cpu()
    picks = {"fpsample": fpsample, "activeml": activeml}[peer](vectors, int(wanted))
    print(json.dumps({"cpu": cpu() - started, "picks": picks}))


if __name__ == "__main__":
    main(*sys.argv[1:])
