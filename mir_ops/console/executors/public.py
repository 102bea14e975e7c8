"""Images that YMIR's users published, to copy from.

From YMIR's own list, `docker_executor/public_index.md`, of its branches for 1.1 and for 2.0 on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class PublicImage:
    """An image of a public registry, and the protocol that it speaks."""

    image: str
    does: tuple[str, ...]
    about: str
    protocol: str


_ALL: Final = ("train", "mine", "infer")

PUBLIC: Final = (
    *(
        PublicImage(f"youdaoyzbx/ymir-executor:ymir2.0.0-{tag}-cu111-tmi", _ALL, about, "1.1.0")
        for tag, about in (
            ("yolov5", "YOLOv5"),
            ("yolov7", "YOLOv7"),
            ("mmdet", "MMDetection"),
            ("detectron2", "Detectron2"),
            ("nanodet", "NanoDet"),
        )
    ),
    *(
        PublicImage(f"youdaoyzbx/ymir-executor:ymir1.1.0-{tag}-tmi", _ALL, about, "0.0.0")
        for tag, about in (
            ("yolov4-cu101", "YOLOv4"),
            ("yolov4-cu112", "YOLOv4"),
            ("yolov5-cu102", "YOLOv5"),
            ("yolov5-cu111", "YOLOv5"),
            ("yolov7-cu111", "YOLOv7"),
            ("mmdet-cu102", "MMDetection"),
            ("mmdet-cu111", "MMDetection"),
            ("detectron2-cu111", "Detectron2"),
        )
    ),
    PublicImage(
        "industryessentials/executor-det-yolov4-training:release-1.1.0",
        ("train",),
        "YOLOv4",
        "0.0.0",
    ),
    PublicImage(
        "industryessentials/executor-det-yolov4-mining:release-1.1.0",
        ("mine", "infer"),
        "YOLOv4",
        "0.0.0",
    ),
)
