"""The network as an ONNX graph, which is kept only if it answers as the network does."""

from __future__ import annotations

import importlib.util
import io
import logging
import warnings

import numpy as np
import torch
from model import Detector
from torch import Tensor

NEEDED = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-3  # of a share, and of a distance as its logarithm


def export_onnx(model: Detector, images: Tensor) -> tuple[bytes | None, str]:
    """The graph and what to say of it; no graph where a package lacks or the answers differ.

    Input `images` (batch, 3, size, size), each normalised to mean 0 and spread 1 in each channel;
    outputs `heat` (class logits) and `sides` (log distances), both at stride 4.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        return None, f"not exported, {', '.join(missing)} not installed"
    device = next(model.parameters()).device
    model.eval().cpu()
    try:
        graph = _export(model, images)
        difference = _difference(model, graph, images)
    finally:
        model.to(device)
    if not difference <= TOLERANCE:
        return None, f"not kept, its answers differ by {difference:.2g}"
    return graph, f"kept, its answers differ by {difference:.1g} at most"


def _export(model: Detector, images: Tensor) -> bytes:
    written = io.BytesIO()
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            (images[:2].contiguous(),),
            dynamo=True,
            verbose=False,
            input_names=["images"],
            output_names=["heat", "sides"],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=4096)},),
        )
        assert program is not None
        program.save(written)
    return written.getvalue()


def _difference(model: Detector, graph: bytes, images: Tensor) -> float:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        heat, sides = (part.numpy() for part in model(images))
    other_heat, other_sides = session.run(None, {"images": images.numpy()})
    shares = np.abs(_share(heat) - _share(other_heat)).max()
    return float(max(shares, np.abs(sides - other_sides).max()))


def _share(logits: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-logits))
