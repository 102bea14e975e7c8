"""The networks of torchvision that can be fine-tuned, and what is kept of them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from mir_executor import ExecutorError
from torch import Tensor, nn

ARCHITECTURES = (
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "retinanet_resnet50_fpn_v2",
    "fcos_resnet50_fpn",
)
_BAD_SETTINGS, _BAD_MODEL = 300001, 300004


@dataclass(frozen=True)
class Architecture:
    """All that is needed to build the network again. Its class 0 is the background."""

    name: str
    class_names: tuple[str, ...]
    img_size: int = 640


def build(architecture: Architecture) -> nn.Module:
    """The network with random weights; nothing is downloaded."""
    try:
        from torchvision.models import detection
    except (ImportError, RuntimeError) as error:  # a build for another torch fails as either
        raise ExecutorError(f"torchvision cannot be loaded: {error}", code=_BAD_SETTINGS) from None
    if architecture.name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ExecutorError(
            f"no architecture `{architecture.name}`, known are: {known}", code=_BAD_SETTINGS
        )
    network: nn.Module = getattr(detection, architecture.name)(
        weights=None,
        weights_backbone=None,
        num_classes=len(architecture.class_names) + 1,
        min_size=architecture.img_size,
        max_size=architecture.img_size,
    )
    return network


def read_weights(path: Path) -> dict[str, Tensor]:
    """A file of weights; only tensors are read from it, nothing in it is executed."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - torch has no error of its own for such files
        raise ExecutorError(f"`{path.name}` are no weights: {error}", code=_BAD_MODEL) from None
    for name in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise ExecutorError(f"`{path.name}` holds no weights of a network", code=_BAD_MODEL)
    return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}


def adopt(network: nn.Module, given: Mapping[str, Tensor]) -> int:
    """Take the weights that fit by name and shape, so not those of other classes; how many."""
    own = network.state_dict()
    fitting = {
        name: tensor
        for name, tensor in given.items()
        if name in own and own[name].shape == tensor.shape
    }
    network.load_state_dict({**own, **fitting})
    return len(fitting)


def to_files(network: nn.Module, architecture: Architecture) -> dict[str, bytes]:
    """The files of a stage."""
    weights = io.BytesIO()
    torch.save({name: part.cpu() for name, part in network.state_dict().items()}, weights)
    text = json.dumps(asdict(architecture), indent=1, sort_keys=True)
    return {"model.json": text.encode(), "model.pt": weights.getvalue()}


def from_files(files: list[Path]) -> tuple[nn.Module, Architecture] | None:
    """The network of a stage, if these are the files of one."""
    by_name = {path.name: path for path in files}
    if not {"model.json", "model.pt"} <= by_name.keys():
        return None
    try:
        fields: dict[str, Any] = json.loads(by_name["model.json"].read_bytes())
        fields["class_names"] = tuple(fields["class_names"])
        architecture = Architecture(**fields)
        network = build(architecture)
        network.load_state_dict(read_weights(by_name["model.pt"]))
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ExecutorError(f"the model cannot be read: {error}", code=_BAD_MODEL) from None
    return network.eval(), architecture
