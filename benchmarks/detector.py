"""The reference detector on the demonstration's images: what it reaches, and how quick it is.

Three seeds on a CPU, each on 400 training and 240 validation images of its own, measured by the
library. Where CUDA finds a GPU the same trainings run there too, and must agree within 0.03; images
a second are reported for both at 640 pixels. Without a GPU its lines say so, and are not ok.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from lines import Line, report

from mir_ops.executor import bundled_folder
from mir_ops.store import Store

LEAST_MAP, MOST_SECONDS, MOST_APART = 0.70, 60.0, 0.03
SIDE = 640
NO_GPU = "CUDA finds no GPU here"


def learn(options: argparse.Namespace) -> Iterator[Line]:
    """What each seed reaches on a CPU, and whether a GPU reaches the same."""
    from second_model import Lab

    for seed in options.seeds:
        reached = {}
        for device in ("cpu", "cuda")[: 1 + torch.cuda.is_available()]:
            with tempfile.TemporaryDirectory(prefix="mir-benchmark-") as name:
                lab = Lab(
                    store=Store.open(f"file://{name}/store", create=True),
                    folder=Path(name),
                    seed=seed,
                    iterations=None,
                    gpus=int(device == "cuda"),
                )
                lab.bring_in(images=400, validation=240, pool=1)
                reached[device] = lab.train("trained", ["first"]).metrics.map50
                seconds = _seconds(Path(name))
            if device == "cpu":
                name = f"map50 against {LEAST_MAP}, seed {seed}"
                yield Line(name=name, ours=reached["cpu"], other=LEAST_MAP, bar=1, sense=">=")
                yield Line(name=f"CPU s, seed {seed}", ours=seconds, limit=MOST_SECONDS)
        name = f"map50 on CUDA and on CPU, difference, seed {seed}"
        if "cuda" in reached:
            apart = abs(reached["cuda"] - reached["cpu"])
            yield Line(name=name, ours=apart, limit=MOST_APART)
        else:
            yield Line(name=name, ours=None, limit=MOST_APART, note=NO_GPU)


def speed(_: argparse.Namespace) -> Iterator[Line]:
    """Images a second at 640 pixels, training and looking."""
    sys.path[:0] = [str(bundled_folder("detector")), str(bundled_folder("detector").parent / "sdk")]
    for device in ("cpu", "cuda"):
        if device == "cuda" and not torch.cuda.is_available():
            yield Line(name=f"images/s at {SIDE} pixels, cuda", ours=None, note=NO_GPU)
            continue
        for what, rate in _rates(torch.device(device), 2 if device == "cpu" else 64):
            yield Line(name=f"images/s at {SIDE} pixels, {device}, {what}", ours=rate)


def _rates(device: torch.device, batch: int) -> Iterator[tuple[str, float]]:
    from model import Architecture, Detector, detection_loss

    model = Detector(Architecture(tuple("abcdefghij"), SIDE)).to(device)
    model = model.to(memory_format=torch.channels_last)
    images = torch.randn(batch, 3, SIDE, SIDE, device=device).to(memory_format=torch.channels_last)
    boxes = torch.tensor([[1.0, 100.0, 100.0, 80.0, 60.0]], device=device).repeat(batch, 1)
    owners = torch.arange(batch, device=device)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)

    def train() -> None:
        optimizer.zero_grad(set_to_none=True)
        detection_loss(*model(images), boxes, owners).backward()
        optimizer.step()

    def look() -> None:
        with torch.inference_mode():
            model(images)

    for what, step in (("training", train), ("looking", look)):
        model.train(what == "training")
        step()
        steps, start = 0, time.perf_counter()
        while time.perf_counter() - start < 3.0:
            step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            steps += 1
        yield what, steps * batch / (time.perf_counter() - start)


def _seconds(folder: Path) -> float:
    """What the training used, as its log says."""
    logs = (path.read_text(errors="replace") for path in folder.rglob("ymir-executor-out.log"))
    found = [re.search(r"trained in ([0-9.]+) CPU-seconds", log) for log in logs]
    return max(float(match[1]) for match in found if match)


SECTIONS = {"learn": learn, "speed": speed}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one object a line")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", default="", help=f"sections by comma: {', '.join(SECTIONS)}")
    options = parser.parse_args()
    missed = 0
    for section in options.only.split(",") if options.only else SECTIONS:
        missed |= report(SECTIONS[section](options), as_json=options.json)
    return missed


if __name__ == "__main__":
    sys.exit(main())
