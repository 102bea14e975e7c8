"""VOC's colours: a number's bits spread over red, green and blue, so that each has its own."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.int32]

VOID: Final = 255  # pixels of no object: the rim that VOC's annotators left out
PALETTE: Final = 256


def colours(numbers: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Red, green and blue of each number below 2^24, in a last dimension."""
    rest = np.asarray(numbers, np.int32)
    channels = [np.zeros(rest.shape, np.uint8) for _ in range(3)]
    for bit in range(8):
        for channel in range(3):
            channels[channel] |= (((rest >> channel) & 1) << (7 - bit)).astype(np.uint8)
        rest = rest >> 3
    return np.stack(channels, axis=-1)


def codes(pixels: npt.NDArray[Any]) -> Codes:
    """One number for red, green and blue in the last dimension."""
    red, green, blue = (pixels[..., channel].astype(np.int32) for channel in range(3))
    return (red << 16) | (green << 8) | blue
