"""File formats: images, archives, and annotations of which each kind reads to the same columns.

`FORMATS` says what files an annotation format has. `read_annotations` turns them into `Parsed`,
`layer_table` (in `mir_ops.dataset.tables`) turns that into rows of a dataset version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

FormatName = Literal["voc", "coco", "yolo", "none"]
ObjectType = Literal["det-box", "seg-poly", "seg-mask"]
OBJECT_TYPES: Final[tuple[ObjectType, ...]] = get_args(ObjectType)


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """What files an annotation format has. Names and folders are in lower case.

    One file belongs to each image and has its name, or one file (`per_image=False`) names many
    images. `companions` are folders and files that are read along: class names, masks.
    """

    name: FormatName
    suffix: str = ""
    folders: tuple[str, ...] = ()
    per_image: bool = True
    companion_folders: tuple[str, ...] = ()
    companion_files: tuple[str, ...] = ()


FORMATS: Final[Mapping[str, Format]] = {
    "voc": Format(
        name="voc",
        suffix=".xml",
        folders=("annotations", "gt"),
        companion_folders=("segmentationclass", "segmentationobject"),
        companion_files=("labelmap.txt",),
    ),
    "coco": Format(
        name="coco", suffix=".json", folders=("annotations", "gt", "labels"), per_image=False
    ),
    "yolo": Format(
        name="yolo",
        suffix=".txt",
        folders=("labels", "annotations", "gt"),
        companion_files=("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names"),
    ),
    "none": Format(name="none"),
}
# Where Pascal VOC keeps its splits: `ImageSets/Main/train.txt`, read on request.
SPLIT_FOLDERS: Final = ("imagesets/main", "imagesets/segmentation")
