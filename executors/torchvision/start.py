"""A standard detector of torchvision, fine-tuned from a file of weights that the user gives."""

from __future__ import annotations

from infer import infer, mine
from mir_executor import run
from train import train

if __name__ == "__main__":
    run(train=train, mine=mine, infer=infer)
