"""Fine-tuning on labelled images: on the CPU, or on one process for each GPU."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from data import Labelled, as_lists
from infer import choose_device, look
from mir_executor import ExecutorError, Task, open_task
from mir_executor.precision import mean_average_precision
from network import Architecture, adopt, build, from_files, read_weights, to_files
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, RandomSampler, Sampler

_BAD_SETTINGS, _BAD_DATASET, _NOT_A_NUMBER = 300001, 300002, 300201
_WEIGHTS = (".pt", ".pth")


def train(task: Task) -> None:
    """Train for some epochs, and keep a stage after each that is measured."""
    if not task.training_items() or not task.validation_items():
        raise ExecutorError("training and validation both need images", code=_BAD_DATASET)
    processes = len(task.gpus)
    if processes < 2:
        _train(task, rank=0, processes=1)
        return
    with TemporaryDirectory() as folder:
        meeting = str(Path(folder, "meeting"))
        torch.multiprocessing.spawn(_train_one, args=(processes, meeting), nprocs=processes)


def _train_one(rank: int, processes: int, meeting: str) -> None:
    """One of several processes; the first reports and writes."""
    torch.distributed.init_process_group(
        "nccl", init_method=f"file://{meeting}", rank=rank, world_size=processes
    )
    try:
        _train(open_task(), rank=rank, processes=processes)
    finally:
        torch.distributed.destroy_process_group()


def _train(task: Task, *, rank: int, processes: int) -> None:
    config = task.config
    torch.manual_seed(int(config.get("seed", 0)) + rank)
    torch.set_num_threads(int(config.get("threads", 1)))
    device = choose_device(task, rank)
    network, architecture = _start(task)
    network.to(device)
    labelled = Labelled(
        task.training_items(), architecture.class_names, flip=bool(config.get("flip", True))
    )
    checks = Labelled(task.validation_items(), architecture.class_names, flip=False)
    run: nn.Module = network
    if processes > 1:
        run = nn.parallel.DistributedDataParallel(network, device_ids=[device.index])
    epochs = max(1, int(config.get("epochs", 10)))
    tuning = _Tuning(task, run, labelled, device, epochs=epochs, rank=rank, processes=processes)
    waited, best, patience = 0, -1.0, int(config.get("patience", 0))
    for epoch in range(1, epochs + 1):
        tuning.run_epoch(epoch)
        mean_ap = 0.0
        if rank == 0:
            mean_ap = _measure(network, checks, tuning.batch_size)
            task.write_metric(tuning.done, "mAP50", mean_ap)
            task.write_stage(f"epoch_{epoch}", to_files(network, architecture), mean_ap=mean_ap)
            print(f"epoch {epoch}: mAP50 {mean_ap:.4f}", flush=True)
        mean_ap = _agreed(mean_ap, device, processes)
        waited = 0 if mean_ap > best else waited + 1
        best = max(best, mean_ap)
        if patience and waited >= patience:
            return


class _Tuning:
    """Epochs of stochastic gradient descent; the rate warms up shortly and falls long."""

    def __init__(
        self,
        task: Task,
        network: nn.Module,
        labelled: Labelled,
        device: torch.device,
        *,
        epochs: int,
        rank: int,
        processes: int,
    ) -> None:
        config = task.config
        self.task, self.network, self.device, self.rank = task, network, device, rank
        self.batch_size = max(1, int(config.get("batch_size", 4)))
        self.rate = float(config.get("learning_rate", 0.005))
        self.bfloat16 = str(config.get("precision", "float32")) == "bfloat16"
        seed = int(config.get("seed", 0))
        self.sampler: Sampler[int] = (
            DistributedSampler(labelled, processes, rank, seed=seed)
            if processes > 1
            else RandomSampler(labelled, generator=torch.Generator().manual_seed(seed))
        )
        self.loader = DataLoader(
            labelled,
            self.batch_size,
            sampler=self.sampler,
            num_workers=int(config.get("workers", 0)),
            collate_fn=as_lists,
            generator=torch.Generator().manual_seed(seed),
        )
        self.steps = epochs * len(self.loader)
        self.done = 0
        trained = [part for part in network.parameters() if part.requires_grad]
        self.optimizer = torch.optim.SGD(trained, self.rate, momentum=0.9, weight_decay=1e-4)

    def run_epoch(self, epoch: int) -> None:
        self.network.train()
        if isinstance(self.sampler, DistributedSampler):
            self.sampler.set_epoch(epoch)
        for images, targets in self.loader:
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate * _schedule(self.done, self.steps)
            images = [image.to(self.device) for image in images]
            targets = [{name: part.to(self.device) for name, part in t.items()} for t in targets]
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
                losses = self.network(images, targets)
            loss = torch.stack(list(losses.values())).sum()
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
            self.optimizer.step()
            self.done += 1
            self._report(float(loss.detach()))

    def _report(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise ExecutorError(f"the loss is {loss}", code=_NOT_A_NUMBER)
        if self.rank == 0 and (self.done % 10 == 0 or self.done == 1):
            self.task.write_metric(self.done, "loss", loss)
            message = f"step {self.done} of {self.steps}, loss {loss:.3f}"
            self.task.report(0.95 * self.done / self.steps, message)
            print(message, flush=True)


def _start(task: Task) -> tuple[nn.Module, Architecture]:
    """The network to begin with: of a model of ours, or with the weights that the user gives."""
    config = task.config
    architecture = Architecture(
        name=str(config.get("architecture", "fasterrcnn_mobilenet_v3_large_fpn")),
        class_names=tuple(task.class_names),
        img_size=int(config.get("img_size", 640)),
    )
    network = build(architecture)
    donor = from_files(task.model_files())
    if donor is not None:
        taken = adopt(network, donor[0].state_dict())
        print(f"started from a trained model: {taken} tensors", flush=True)
        return network, architecture
    path = next(_weights_files(task), None)
    if path is None:
        print("no weights given: training from nothing takes long and many images", flush=True)
    else:
        print(f"started from {path.name}: {adopt(network, read_weights(path))} tensors", flush=True)
    return network, architecture


def _weights_files(task: Task) -> Iterator[Path]:
    """Those of an imported model package, then the one that the settings name."""
    yield from (path for path in task.model_files() if path.suffix in _WEIGHTS)
    if named := str(task.config.get("weights_file") or os.environ.get("WEIGHTS_FILE", "")):
        if not Path(named).is_file():
            raise ExecutorError(f"no file of weights `{named}`", code=_BAD_SETTINGS)
        yield Path(named)


def _measure(network: nn.Module, checks: Labelled, batch_size: int) -> float:
    found = list(look(network, [item.image for item in checks.items], batch_size))
    truth = [checks.truth(number) for number in range(len(checks))]
    return mean_average_precision(found, truth, len(checks.numbers))


def _agreed(value: float, device: torch.device, processes: int) -> float:
    """What the first process measured, in all of them: they stop together."""
    if processes < 2:
        return value
    shared = torch.tensor([value], device=device)
    torch.distributed.broadcast(shared, src=0)
    return float(shared)


def _schedule(done: int, steps: int) -> float:
    warm = min(100, max(1, steps // 10))
    if done < warm:
        return (done + 1) / warm
    return 0.01 + 0.99 * (1 + math.cos(math.pi * (done - warm) / max(1, steps - warm))) / 2
