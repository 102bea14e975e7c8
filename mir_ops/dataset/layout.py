"""Which file of a source is an image, which an annotation, and which belong together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from mir_ops.dataset.report import Tally
from mir_ops.errors import InvalidInputError

_IMAGE_FOLDERS: Final = ("images", "jpegimages")
_ANNOTATION_FOLDERS: Final = ("annotations", "gt")
_CLUTTER: Final = ("thumbs.db", "desktop.ini", "index.tsv", "index.txt")
_DEEPEST: Final = 3  # levels at which an `images` folder is looked for
# What is offered as an image when no folder says so. Their bytes decide what they are.
_IMAGE_SUFFIXES: Final = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp"}
    | {".gif", ".webp", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".ppm", ".pgm"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Names of the images and of the annotation files, each with its key.

    A key is the name without the folder it was found in and without its suffix, so that
    `data/images/day/a.jpg` and `data/annotations/day/a.xml` have the same: `data//day/a`.
    """

    images: Mapping[str, str]  # name: key
    annotations: Mapping[str, str]


def find_layout(names: Iterable[str], tally: Tally) -> Layout:
    """Look for `images` (or `JPEGImages`) beside `annotations` (or `gt`), else take all images."""
    names = [name for name in names if not _is_clutter(name)]
    tops = _image_folders(names)
    if not tops:
        return _flat_layout(names, tally)
    beside = _annotation_folders(names, {_parent(top) for top in tops})
    # Without a folder of their own, annotations may lie among the images.
    for_xml = beside | {top for top in tops if _parent(top) not in {_parent(b) for b in beside}}
    known = tops | beside
    images: dict[str, str] = {}
    annotations: dict[str, str] = {}
    for name in names:
        top = next((parent for parent in _parents(name) if parent in known), "")
        if _suffix(name) == ".xml" and top in for_xml:
            annotations[name] = _key(name, top)
        elif _suffix(name) != ".xml" and top in tops:
            images[name] = _key(name, top)
        else:
            tally.add("file-ignored", name)
    return Layout(images=images, annotations=annotations)


def index_layout(images: Iterable[str], annotations: Iterable[str], tally: Tally) -> Layout:
    """Images of an index file, and the files of the annotation folder named beside it."""
    xml = {name: name[: -len(".xml")] for name in annotations if _suffix(name) == ".xml"}
    ignored = (name for name in annotations if name not in xml and not _is_clutter(name))
    tally.add_all("file-ignored", ignored)
    return Layout(images={name: _stem(name) for name in images}, annotations=xml)


def match(layout: Layout, stated: Mapping[str, str], tally: Tally) -> dict[str, str]:
    """Which annotation file belongs to which image: by the same place, else by a unique name.

    `stated` has the annotation files that could be read, with the image's name as they state it.
    Returns image name: annotation name. What fits no image, or several, is counted.
    """
    by_key = _grouped((key, name) for name, key in layout.images.items())
    by_stem = _grouped((_last(key), name) for name, key in layout.images.items())
    claims: dict[str, list[str]] = {}
    loose: list[str] = []
    for name in sorted(stated):
        candidates = _narrowed(by_key.get(layout.annotations[name], []), stated[name])
        if len(candidates) == 1:
            claims.setdefault(candidates[0], []).append(name)
        elif candidates:
            tally.add("annotation-ambiguous", f"{name}: {', '.join(candidates[:3])}")
        else:
            loose.append(name)
    exact = set(claims)
    for name in loose:
        found = by_stem.get(_last(layout.annotations[name]), [])
        candidates = _narrowed([image for image in found if image not in exact], stated[name])
        if len(candidates) == 1:
            claims.setdefault(candidates[0], []).append(name)
        elif candidates:
            tally.add("annotation-ambiguous", f"{name}: {', '.join(candidates[:3])}")
        else:
            tally.add("annotation-without-image", name)
    return _settled(claims, tally)


def _settled(claims: Mapping[str, list[str]], tally: Tally) -> dict[str, str]:
    matched: dict[str, str] = {}
    for image, names in claims.items():
        if len(names) == 1:
            matched[image] = names[0]
        else:
            tally.add_all("annotation-ambiguous", (f"{name}: {image}" for name in names))
    return matched


def _narrowed(images: list[str], file_name: str) -> list[str]:
    """Where `a.jpg` and `a.png` share a place, the file's own `<filename>` decides."""
    if len(images) < 2:
        return images
    stated = _last(file_name.replace("\\", "/"))
    named = [image for image in images if _last(image) == stated]
    return named if len(named) == 1 else images


def _image_folders(names: Iterable[str]) -> set[str]:
    """Folders called like one for images, at the smallest depth where there is one."""
    found: dict[int, set[str]] = {}
    for folder in _folders(names):
        path = PurePosixPath(folder)
        if path.name.lower() in _IMAGE_FOLDERS:
            found.setdefault(len(path.parts), set()).add(folder)
    depth = min(found, default=_DEEPEST + 1)
    return found[depth] if depth <= _DEEPEST else set()


def _annotation_folders(names: Iterable[str], parents: set[str]) -> set[str]:
    found: dict[str, list[str]] = {}
    for folder in sorted(_folders(names)):
        if _last(folder).lower() in _ANNOTATION_FOLDERS and _parent(folder) in parents:
            found.setdefault(_parent(folder), []).append(folder)
    for folders in found.values():
        if len(folders) > 1:
            raise InvalidInputError(
                f"Two folders could hold the annotations: `{folders[0]}` and `{folders[1]}`",
                code="ambiguous-layout",
                hint="Keep one of them beside the folder of images",
            )
    return {folder for folders in found.values() for folder in folders}


def _flat_layout(names: Iterable[str], tally: Tally) -> Layout:
    images: dict[str, str] = {}
    annotations: dict[str, str] = {}
    for name in names:
        suffix = _suffix(name)
        if suffix in _IMAGE_SUFFIXES:
            images[name] = _stem(name)
        elif suffix == ".xml":
            annotations[name] = _stem(name)
        else:
            tally.add("file-ignored", name)
    return Layout(images=images, annotations=annotations)


def _folders(names: Iterable[str]) -> set[str]:
    """Every folder down to the deepest one that could matter."""
    folders: set[str] = set()
    for parent in {_parent(name) for name in names}:
        parts = PurePosixPath(parent).parts
        folders.update("/".join(parts[:n]) for n in range(1, min(len(parts), _DEEPEST) + 1))
    return folders


def _parents(name: str) -> list[str]:
    """The folders of a name that could be the top of images or annotations, outermost first."""
    parts = name.split("/")[:-1]
    return ["/".join(parts[:n]) for n in range(1, min(len(parts), _DEEPEST) + 1)]


def _key(name: str, top: str) -> str:
    return f"{_parent(top)}//{_stem(name[len(top) + 1 :])}"


def _is_clutter(name: str) -> bool:
    """Files that operating systems leave behind, and the lists that an export writes."""
    parts = name.split("/")
    return "__MACOSX" in parts or parts[-1].startswith(".") or parts[-1].lower() in _CLUTTER


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups


def _parent(name: str) -> str:
    return name.rpartition("/")[0]


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _stem(name: str) -> str:
    return name[: len(name) - len(PurePosixPath(name).suffix)]
