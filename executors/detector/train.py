"""Training from labelled images, measured on the validation images, the same each time."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from data import BoxSet, ImageSet, choose_size, vary
from infer import choose_device, find_model, look
from mir_executor import ExecutorError, Task
from mir_executor.precision import mean_average_precision
from model import (
    Architecture,
    Detector,
    adopt_weights,
    class_index,
    detection_loss,
    load_model,
    save_model,
)
from onnx_export import export_onnx

_BAD_DATASET = 300002
_NOT_A_NUMBER = 300201
_REPORT_EVERY = 20
_FILLED_PER_EMPTY = 8
_MEASURED_SHARE = 0.1  # of the progress bar


def train(task: Task) -> None:
    """Train, measure and keep the stages `half` and `last`, and `best` if it came in between."""
    config = task.config
    iterations = int(config.get("iterations", 600))
    device = choose_device(task)
    _make_repeatable(int(config.get("seed", 0)), int(config.get("threads", 1)), device)
    items, checks = task.training_items(), task.validation_items()
    if not items or not checks:
        raise ExecutorError("training and validation both need images", code=_BAD_DATASET)
    size = choose_size([item.image for item in items], int(config.get("img_size", 0)))
    classes = class_index(task.class_names)
    images = ImageSet([item.image for item in items], size)
    boxes = BoxSet(items, images, classes)
    check_images = ImageSet([item.image for item in checks], size)
    check_boxes = BoxSet(checks, check_images, classes)
    model = _start_model(task, size).to(device)
    training = _Training(task, model, images, boxes, iterations)
    patience = _Patience(int(config.get("patience", 0)))
    for until in _measured_at(iterations, int(config.get("evaluate_every", 0))):
        training.run_until(until)
        mean_ap = _measure(model, check_images, check_boxes, len(classes))
        task.write_metric(training.done, "mAP50", mean_ap)
        print(f"iteration {training.done}: mAP50 {mean_ap:.4f}", flush=True)
        better, tired = patience.note(mean_ap)
        name = {iterations // 2: "half", iterations: "last"}.get(until, "best" if better else None)
        if tired and name is None:
            name = "last"
        if name is not None:
            task.write_stage(name, save_model(model), mean_ap=mean_ap)
        if tired:
            print(f"stopped early: no better for {patience.limit} measurements", flush=True)
            break
    print(f"trained in {time.process_time():.1f} CPU-seconds", flush=True)
    if config.get("export_onnx", True):
        _add_onnx(task, check_images)


class _Patience:
    """How long the measurements have not become better; a limit of 0 waits for ever."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.best = -1.0
        self.waited = 0

    def note(self, value: float) -> tuple[bool, bool]:
        """Whether this is the best so far, and whether it has been long enough."""
        better = value > self.best
        self.best = max(self.best, value)
        self.waited = 0 if better else self.waited + 1
        return better, bool(self.limit) and self.waited >= self.limit


class _Training:
    """One run over shuffled batches, with a learning rate that rises shortly and falls long."""

    def __init__(
        self, task: Task, model: Detector, images: ImageSet, boxes: BoxSet, iterations: int
    ) -> None:
        config = task.config
        self.task, self.model, self.images, self.boxes = task, model, images, boxes
        self.device = next(model.parameters()).device
        self.iterations = iterations
        self.done = 0
        self.size = min(int(config.get("batch_size", 8)), 4096)
        self.rate = float(config.get("learning_rate", 0.01))
        self.varied = bool(config.get("augment", True))
        self.flip = bool(config.get("flip", False))
        self.invert = bool(config.get("invert", True))
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=self.rate, weight_decay=0.01, fused=True
        )
        self.dice = torch.Generator().manual_seed(int(config.get("seed", 0)))
        self.bfloat16 = str(config.get("precision", "float32")) == "bfloat16"
        self.filled = [number for number, found in enumerate(boxes.boxes) if len(found)]
        self.empty = [number for number, found in enumerate(boxes.boxes) if not len(found)]
        self.repeats = _repeats([set(boxes.boxes[number][:, 0]) for number in self.filled])
        self._order: list[int] = []

    def run_until(self, iteration: int) -> None:
        self.model.train()
        while self.done < iteration:
            loss = self._step()
            self.done += 1
            if self.done % _REPORT_EVERY == 0 or self.done == 1:
                self._report(loss)

    def _step(self) -> float:
        numbers = self._next_numbers()
        images = self.images.batch(numbers).to(self.device)
        boxes, owners = (part.to(self.device) for part in self.boxes.batch(numbers))
        if self.varied:
            images, boxes, owners = vary(
                images, boxes, owners, self.dice, flip=self.flip, invert=self.invert
            )
        images = images.to(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            heat, sides = self.model(images)
        loss = detection_loss(heat, sides, boxes, owners)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * _schedule(self.done / self.iterations)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 10.0)
        self.optimizer.step()
        return float(loss.detach())

    def _next_numbers(self) -> Sequence[int]:
        """Every image with objects before the next pass; of empty ones only a few in between."""
        while len(self._order) < self.size:
            few = self._shuffled(self.empty)[: len(self.filled) // _FILLED_PER_EMPTY]
            self._order += self._shuffled(self._repeated() + few or self.empty)
        numbers, self._order = self._order[: self.size], self._order[self.size :]
        return numbers

    def _repeated(self) -> list[int]:
        """The images with objects for one pass: those of rare classes several times."""
        luck = torch.rand(len(self.filled), generator=self.dice).tolist()
        times = [int(wanted + part) for wanted, part in zip(self.repeats, luck, strict=True)]
        return [
            number for number, count in zip(self.filled, times, strict=True) for _ in range(count)
        ]

    def _shuffled(self, numbers: list[int]) -> list[int]:
        order = torch.randperm(len(numbers), generator=self.dice).tolist()
        return [numbers[place] for place in order]

    def _report(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise ExecutorError(f"the loss is {loss}", code=_NOT_A_NUMBER)
        self.task.write_metric(self.done, "loss", loss)
        share = (1 - _MEASURED_SHARE) * self.done / self.iterations
        message = f"iteration {self.done} of {self.iterations}, loss {loss:.3f}"
        self.task.report(share, message)
        print(message, flush=True)


def _repeats(images: Sequence[set[float]]) -> list[float]:
    """How often each image comes in a pass, by its rarest class: a class that one image in n shows
    comes the square root of n times as often."""
    counts = Counter(one for classes in images for one in classes)
    rarest = [min(counts[one] for one in classes) for classes in images]
    return [math.sqrt(len(images) / count) for count in rarest]


def _start_model(task: Task, size: int) -> Detector:
    architecture = Architecture(
        class_names=tuple(task.class_names), img_size=size, width=int(task.config.get("width", 12))
    )
    model = Detector(architecture).to(memory_format=torch.channels_last)
    donor = find_model(task.model_files())
    if donor is not None:
        print(f"started from a trained model: {adopt_weights(model, donor)} tensors", flush=True)
    return model


def _measure(model: Detector, images: ImageSet, boxes: BoxSet, classes: int) -> float:
    found = list(look(model, images, threshold=0.02, overlap=0.5))
    return mean_average_precision(found, boxes.boxes, classes)


def _add_onnx(task: Task, images: ImageSet) -> None:
    """The best stage also as an ONNX graph, where that finds what the network finds."""
    name = task.best_stage()
    folder = task.local("/out/models") / name
    files = {file: (folder / file).read_bytes() for file in ("model.json", "model.npz")}
    model = load_model(files["model.json"], files["model.npz"])
    graph, said = export_onnx(model, images.batch(range(min(len(images), 8))))
    print(f"ONNX of stage {name}: {said}", flush=True)
    if graph is not None:
        task.write_stage(
            name, {**files, "model.onnx": graph}, mean_ap=float(task.stages[name]["mAP"])
        )


def _measured_at(iterations: int, every: int) -> list[int]:
    """Half-way, at the end, and every so many iterations in between."""
    between = range(every, iterations, every) if every > 0 else ()
    return sorted({*between, iterations // 2, iterations} - {0})


def _make_repeatable(seed: int, threads: int, device: torch.device) -> None:
    """The same seed gives the same model on a CPU; on a GPU a nearly equal one, sooner."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(device.type == "cpu")
    # Nothing here reads memory before it is written: filling it first takes a twentieth longer.
    torch.utils.deterministic.fill_uninitialized_memory = False


def _schedule(share: float) -> float:
    if share < 0.05:
        return (share + 0.005) / 0.055
    return 0.01 + 0.99 * (1 + math.cos(math.pi * (share - 0.05) / 0.95)) / 2
