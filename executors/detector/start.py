"""The reference detector: a small anchor-free network that learns in seconds on a CPU."""

from __future__ import annotations

from infer import infer, mine
from mir_executor import run
from train import train

if __name__ == "__main__":
    run(train=train, mine=mine, infer=infer)
