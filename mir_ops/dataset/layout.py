"""Which file of a source is an image, which an annotation, and where its sets are listed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Final

from mir_ops.errors import InvalidInputError
from mir_ops.formats import FORMATS, SPLIT_FOLDERS, Format, FormatName
from mir_ops.formats.trees import EXPECTED_TREE

_IMAGE_FOLDERS: Final = ("images", "jpegimages")
_CLUTTER: Final = ("thumbs.db", "desktop.ini", "index.tsv", "index.txt")
_SETS: Final = ("train.txt", "val.txt", "test.txt")
_DEEPEST: Final = 3  # levels at which an `images` folder is looked for
# What is offered as an image when no folder says so. Their bytes decide what they are.
_IMAGE_SUFFIXES: Final = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp"}
    | {".gif", ".webp", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".ppm", ".pgm"}
)
# Of several COCO files in a folder these are the objects; the first kind that is there is read.
_COCO_FILES: Final = (("coco-annotations",), ("instances",), ("",))
_GUESSED: Final[tuple[FormatName, ...]] = ("coco", "yolo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Names of the images and of the annotation files, each with its key.

    A key is the name without the folder it was found in and without its suffix, so that
    `data/images/day/a.jpg` and `data/annotations/day/a.xml` have the same: `data//day/a`.
    """

    images: Mapping[str, str]  # name: key
    annotations: Mapping[str, str]
    companions: tuple[str, ...] = ()  # class names and masks, read along with the annotations
    sets: tuple[str, ...] = ()  # lists of the images of a split
    ignored: tuple[str, ...] = field(default=(), repr=False)


def guess_format(names: Collection[str], *, in_folder: bool) -> FormatName:
    """The annotation format of files with these names: Pascal VOC before COCO before YOLO.

    `in_folder`: they lie in a folder of annotations. Else a text file is one only if a folder
    above it says so: it may be anything.
    """
    if any(_suffix(name) == FORMATS["voc"].suffix and not _is_clutter(name) for name in names):
        return "voc"
    kinds = {(_suffix(n), _shelves(_parent(n))) for n in names if not _is_clutter(n)}
    suffixes = {suffix for suffix, _ in kinds}
    for guess in _GUESSED:
        wanted = FORMATS[guess]
        beside = any(
            suffix == wanted.suffix and not shelves.isdisjoint(wanted.folders)
            for suffix, shelves in kinds
        )
        if wanted.suffix in suffixes and (beside or in_folder):
            return guess
    return "none"


def find_layout(names: Iterable[str], kind: Format) -> Layout:
    """Look for `images` (or `JPEGImages`) beside a folder of annotations, else take all images."""
    names = [name for name in names if not _is_clutter(name)]
    tops = _image_folders(names)
    if not tops:
        _check_flat(names, kind)
        return _flat_layout(names, kind)
    beside = _annotation_folders(names, {_parent(top) for top in tops}, kind)
    # Without a folder of their own, annotations may lie among the images.
    mixed = beside | {top for top in tops if _parent(top) not in {_parent(b) for b in beside}}
    known = tops | beside
    near = known | {_parent(top) for top in known}
    images: dict[str, str] = {}
    annotations: dict[str, str] = {}
    companions: list[str] = []
    rest: list[str] = []
    for name in names:
        top = next((parent for parent in _parents(name) if parent in known), "")
        # A mask elsewhere belongs to something else, as to predictions that were exported along.
        if _is_companion(name, kind) and _is_near(name, kind, near):
            companions.append(name)
        elif kind.suffix and _suffix(name) == kind.suffix and top in mixed:
            annotations[name] = _key(name, top)
        elif top in tops and _suffix(name) != ".xml":
            images[name] = _key(name, top)
        else:
            rest.append(name)
    return _layout(images, annotations, companions, rest, kind)


def annotation_layout(names: Iterable[str], kind: Format) -> Layout:
    """The files of a folder of annotations that was named beside the images."""
    annotations: dict[str, str] = {}
    companions: list[str] = []
    rest: list[str] = []
    for name in names:
        if _is_companion(name, kind):
            companions.append(name)
        elif kind.suffix and _suffix(name) == kind.suffix:
            annotations[name] = name[: -len(kind.suffix)]
        elif not _is_clutter(name):
            rest.append(name)
    return _layout({}, annotations, companions, rest, kind)


def index_layout(names: Iterable[str]) -> Layout:
    """Images of an index file."""
    return Layout(images={name: _stem(name) for name in names}, annotations={})


def read_split_names(name: str, text: str) -> tuple[str, list[str]]:
    """A split and the names that its list `train.txt` has, one in the first column of each line."""
    words = (line.split() for line in text.splitlines())
    return _stem(_last(name)).lower(), [entry[0] for entry in words if entry]


def _layout(
    images: Mapping[str, str],
    annotations: Mapping[str, str],
    companions: Iterable[str],
    rest: Iterable[str],
    kind: Format,
) -> Layout:
    chosen = annotations if kind.per_image else _object_files(annotations)
    sets = [name for name in rest if _is_set(name)]
    left = [name for name in (*rest, *annotations) if name not in chosen and not _is_set(name)]
    return Layout(
        images=images,
        annotations=chosen,
        companions=tuple(sorted(companions)),
        sets=tuple(sets),
        ignored=tuple(left),
    )


def _object_files(annotations: Mapping[str, str]) -> dict[str, str]:
    """Of COCO files, those that hold objects, not captions or keypoints, where names tell."""
    for starts in _COCO_FILES:
        found = {n: k for n, k in annotations.items() if _last(n).lower().startswith(starts)}
        if found:
            return found
    return {}


def _check_flat(names: list[str], kind: Format) -> None:
    """Refuse a source that has folders as we want them, but not where we look for them."""
    folders = {"/".join(parts[:n]) for parts in _folder_parts(names) for n in range(len(parts) + 1)}
    deep = sorted(f for f in folders if _last(f).lower() in _IMAGE_FOLDERS)
    if deep:
        raise _wrong_tree(f"The folder `{deep[0]}` lies too deep: at most {_DEEPEST} levels")
    alone = sorted(
        f for f in folders if _last(f).lower() in kind.folders and f.count("/") < _DEEPEST
    )
    # One file for many images says where they are: it needs no folder of images beside it.
    if alone and kind.suffix and kind.per_image:
        raise _wrong_tree(f"There is a folder `{alone[0]}`, but no folder `images` beside it")


def _wrong_tree(what: str) -> InvalidInputError:
    return InvalidInputError(
        what,
        code="wrong-layout",
        hint=f"Arrange the files like this, and pack the folder that holds both:\n{EXPECTED_TREE}",
    )


def _folder_parts(names: Iterable[str]) -> list[tuple[str, ...]]:
    return [PurePosixPath(folder).parts for folder in {_parent(name) for name in names}]


def _image_folders(names: Iterable[str]) -> set[str]:
    """Folders called like one for images, at the smallest depth where there is one."""
    found: dict[int, set[str]] = {}
    for parts in _folder_parts(names):
        for depth in range(1, min(len(parts), _DEEPEST) + 1):
            if parts[depth - 1].lower() in _IMAGE_FOLDERS:
                found.setdefault(depth, set()).add("/".join(parts[:depth]))
    return found[min(found)] if found else set()


def _annotation_folders(names: Iterable[str], parents: set[str], kind: Format) -> set[str]:
    found: dict[str, list[str]] = {}
    folders = {
        "/".join(parts[:depth])
        for parts in _folder_parts(names)
        for depth in range(1, min(len(parts), _DEEPEST) + 1)
    }
    for folder in sorted(folders):
        if _last(folder).lower() in kind.folders and _parent(folder) in parents:
            found.setdefault(_parent(folder), []).append(folder)
    for several in found.values():
        if len(several) > 1:
            raise InvalidInputError(
                f"Two folders could hold the annotations: `{several[0]}` and `{several[1]}`",
                code="ambiguous-layout",
                hint="Keep one of them beside the folder of images",
            )
    return {folder for several in found.values() for folder in several}


def _flat_layout(names: Iterable[str], kind: Format) -> Layout:
    images: dict[str, str] = {}
    annotations: dict[str, str] = {}
    companions: list[str] = []
    rest: list[str] = []
    for name in names:
        suffix = _suffix(name)
        if _is_companion(name, kind):
            companions.append(name)
        elif suffix in _IMAGE_SUFFIXES:
            images[name] = _stem(name)
        elif kind.suffix and suffix == kind.suffix:
            annotations[name] = _stem(name)
        else:
            rest.append(name)
    return _layout(images, annotations, companions, rest, kind)


def _parents(name: str) -> tuple[str, ...]:
    return _tops(name.rpartition("/")[0])


@lru_cache(65536)
def _tops(folder: str) -> tuple[str, ...]:
    """The folders that could be the top of images or annotations, outermost first."""
    parts = folder.split("/")
    return tuple("/".join(parts[:n]) for n in range(1, min(len(parts), _DEEPEST) + 1))


def _key(name: str, top: str) -> str:
    return f"{_parent(top)}//{_stem(name[len(top) + 1 :])}"


def _is_companion(name: str, kind: Format) -> bool:
    if kind.companion_files and _last(name).lower() in kind.companion_files:
        return True
    return bool(kind.companion_folders) and _shelf(_parent(name)) in kind.companion_folders


def _is_near(name: str, kind: Format, places: set[str]) -> bool:
    """Whether a companion is a file, or in a folder that lies in one of these places."""
    folder = _parent(name)
    return _last(folder).lower() not in kind.companion_folders or _parent(folder) in places


def _is_set(name: str) -> bool:
    return _last(name).lower() in _SETS and _parent(name).lower().endswith(SPLIT_FOLDERS)


def _is_clutter(name: str) -> bool:
    """Files that operating systems leave behind, and the lists that an export writes."""
    last = _last(name)
    if last.startswith(".") or last.lower() in _CLUTTER:
        return True
    return "__MACOSX" in name and "__MACOSX" in name.split("/")


def _parent(name: str) -> str:
    return name.rpartition("/")[0]


def _last(name: str) -> str:
    return name.rpartition("/")[2]


@lru_cache(65536)
def _shelves(folder: str) -> frozenset[str]:
    return frozenset(folder.lower().split("/"))


@lru_cache(65536)
def _shelf(folder: str) -> str:
    return _last(folder).lower()


def _suffix(name: str) -> str:
    dot = name.rfind(".")
    named = name.rfind("/") + 1 < dot < len(name) - 1
    return name[dot:].lower() if named else ""


def _stem(name: str) -> str:
    return name[: len(name) - len(_suffix(name))]
