"""What an import or export took, and everything it did not take: counted, listed, with a hint."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

EXAMPLES_KEPT: Final = 1000  # of one kind, in memory
EXAMPLES_SHOWN: Final = 5

# code: (what it means, what to do). The one place where these words are written.
ISSUES: Final[Mapping[str, tuple[str, str]]] = {
    "unsafe-name": (
        "entries with a name that leaves the folder, or links, were skipped",
        "Pack the archive again from inside its folder, with plain files only",
    ),
    "entry-encrypted": ("encrypted entries were skipped", "Pack the archive without a password"),
    "entry-damaged": (
        "entries could not be read and were skipped",
        "Check that you may read them; if so, copy or pack them again",
    ),
    "entry-repeated": (
        "entries have the name of an earlier one and were skipped",
        "Pack every file once",
    ),
    "file-too-large": ("files are too large and were skipped", "Split or shrink them"),
    "file-ignored": (
        "files are neither images nor annotations",
        "Nothing to do, unless one of them should have been read",
    ),
    "file-missing": (
        "files named in the index do not exist",
        "Correct the paths in the index file; relative ones start at its folder",
    ),
    "index-not-an-image": (
        "folders and lists are named in the index and were skipped",
        "Nothing to do: `find FOLDER -type f` lists no folders",
    ),
    "image-format": (
        "images are not JPEG, PNG or BMP and were skipped",
        "Convert them to one of these formats",
    ),
    "image-unreadable": (
        "images are damaged and were skipped",
        "Copy them again from where they came from",
    ),
    "image-too-large": ("images have too many pixels and were skipped", "Cut them into tiles"),
    "image-extension": (
        "images were taken as what their bytes say, not as their name says",
        "Nothing to do: exports name them correctly",
    ),
    "image-twice": (
        "images have the same bytes as another one and were taken once",
        "Nothing to do: all their names are kept",
    ),
    "annotation-unreadable": (
        "annotation files could not be read",
        "Correct them; their images were taken as not labelled",
    ),
    "annotation-doctype": (
        "annotation files declare a DOCTYPE or entities and were refused",
        "Remove the `<!DOCTYPE …>` from them; their images were taken as not labelled",
    ),
    "annotation-without-image": (
        "annotation files have no image",
        "Add the images, or correct the file names: `a.xml` belongs to `a.jpg`",
    ),
    "annotation-ambiguous": (
        "annotation files fit several images and were not used",
        "Put them into the same sub-folders as the images, or give the images distinct names",
    ),
    "annotation-differs": (
        "annotation files of an image that came twice say something else and were not used",
        "Keep one annotation file for equal images",
    ),
    "size-differs": (
        "annotation files state another size than their image has",
        "Check that they belong together; the boxes were taken as they are",
    ),
    "boxes-turned": (
        "annotation files were written for the image before its EXIF rotation: boxes turned",
        "Nothing to do: boxes are kept as the image is displayed",
    ),
    "class-unknown": (
        "objects have a class that nobody declared and were left out",
        "Add the classes to `labels.yaml`, or import with `--unknown-types-strategy add`",
    ),
    "class-added": ("objects have a class that was added", "Check the spelling of the new classes"),
    "object-malformed": (
        "objects are not written as their format wants and were left out",
        "Compare them with an object that was taken",
    ),
    "object-part": (
        "annotation files have parts of objects (`<part>`), which were left out",
        "Nothing to do, or give each part an `<object>` of its own",
    ),
    "category-unknown": (
        "objects have a class id that their file does not explain and were left out",
        "Add the class to `categories`, or to `names` in `data.yaml` or `classes.txt`",
    ),
    "image-unknown": (
        "objects belong to an image that their file does not list and were left out",
        "Add the image to `images`",
    ),
    "id-twice": (
        "ids are given out twice: of images and classes the first was taken, objects all",
        "Number them anew",
    ),
    "shape-unreadable": (
        "polygons or masks could not be read; their objects were taken if they state a box",
        "Check that a ring has three points or more, and that a mask has its image's size",
    ),
    "shape-clipped": (
        "polygons reached over the edge of their image and were moved to it",
        "Check that file and image belong together",
    ),
    "shape-left-out": (
        "objects have a polygon or a mask, and were taken as boxes as you asked",
        "Import them as `seg-poly` or `seg-mask` to keep their shapes",
    ),
    "mask-missing": (
        "objects name a mask that is not in `SegmentationObject`; their boxes were taken",
        "Put the folder beside the annotations, under the name `SegmentationObject`",
    ),
    "mask-without-class": (
        "masks have no object and no class that says what they are, and were left out",
        "Add `labelmap.txt`, or an `<object>` for each mask in the annotation file",
    ),
    "object-without-class": ("objects have no class name and were left out", "Name their class"),
    "object-without-box": ("objects have no box and were left out", "Draw their boxes"),
    "box-not-a-number": ("boxes have a coordinate that is no number", "Correct the coordinates"),
    "box-empty": ("boxes have no width or no height and were left out", "Draw them again"),
    "box-outside": ("boxes lie outside their image and were left out", "Draw them again"),
    "box-clipped": (
        "boxes reached over the edge of their image and were cut there",
        "Nothing to do, if they do so by a pixel; else check that file and image belong together",
    ),
    "box-twice": ("boxes repeat another one of the same class and image", "Nothing to do"),
    "prediction-without-confidence": (
        "predictions state no confidence and were taken as certain",
        "Write `<confidence>` into every object",
    ),
    "not-carried": (
        "values have no place in the format and were left out",
        "Export as COCO, which holds most of them, or keep this version",
    ),
    "set-without-image": (
        "names in a list of a split are those of no image, or of several",
        "Correct the lists in `ImageSets/Main`",
    ),
    "set-repeated": (
        "images are listed in several splits and stay in the first",
        "List every image once in `ImageSets/Main`",
    ),
    "image-missing": (
        "images are not in the store and were left out",
        "Check with `mir store fsck`",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """Something that was not taken, or not taken as it came."""

    code: str
    count: int
    examples: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return ISSUES[self.code][0]

    @property
    def hint(self) -> str:
        return ISSUES[self.code][1]

    def __str__(self) -> str:
        # The number at the end: before the words it would want them in the singular at times.
        return f"{self.text}: {self.count} [{self.code}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was taken (counts by name) and the issues, in a stable order."""

    taken: Mapping[str, int]
    issues: tuple[Issue, ...] = ()

    def lines(self) -> list[str]:
        """The report as people read it."""
        lines = [f"{name.replace('_', ' ')}: {count}" for name, count in self.taken.items()]
        for issue in self.issues:
            lines.append(str(issue))
            lines.extend(f"    {example}" for example in issue.examples[:EXAMPLES_SHOWN])
            if issue.count > EXAMPLES_SHOWN and len(issue.examples) >= EXAMPLES_SHOWN:
                lines.append(f"    … and {issue.count - EXAMPLES_SHOWN} more")
            lines.append(f"    hint: {issue.hint}")
        return lines

    def to_dict(self, *, examples: int = 20) -> dict[str, Any]:
        issues = [
            {
                "code": issue.code,
                "count": issue.count,
                "examples": list(issue.examples[:examples]),
                "text": issue.text,
                "hint": issue.hint,
            }
            for issue in self.issues
        ]
        return {"taken": dict(self.taken), "issues": issues}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Report:
        issues = tuple(
            Issue(code=issue["code"], count=issue["count"], examples=tuple(issue["examples"]))
            for issue in content["issues"]
        )
        taken = content["taken"]
        # A commit has them in the order of their names; images come before the boxes on them.
        names = sorted(taken, key=lambda name: (name.rpartition("_")[0], name.endswith("_boxes")))
        return cls(taken={name: taken[name] for name in names}, issues=issues)


@dataclass(slots=True)
class Tally:
    """Collects issues while a source is read; `write` is given a line of JSON for each."""

    write: Callable[[str], object] | None = None
    _counts: dict[str, int] = field(default_factory=dict)
    _examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, code: str, example: str, *, count: int = 1) -> None:
        text = _printable(example)
        self._counts[code] = self._counts.get(code, 0) + count
        kept = self._examples.setdefault(code, [])
        if len(kept) < EXAMPLES_KEPT:
            kept.append(text)
        if self.write is not None:
            line = {"code": code, "what": text, "count": count, "reason": ISSUES[code][0]}
            self.write(json.dumps(line, ensure_ascii=False) + "\n")

    def add_all(self, code: str, examples: Iterable[str]) -> None:
        for example in examples:
            self.add(code, example)

    def count(self, code: str) -> int:
        return self._counts.get(code, 0)

    def report(self, taken: Mapping[str, int]) -> Report:
        issues = tuple(
            Issue(code=code, count=self._counts[code], examples=tuple(self._examples[code]))
            for code in ISSUES
            if code in self._counts
        )
        return Report(taken=dict(taken), issues=issues)


@contextmanager
def listing(path: Path | None) -> Iterator[Tally]:
    """A tally whose issues are all listed in a file, a line of JSON each, whatever happens.

    Where there are none there is no file.
    """
    if path is None:
        yield Tally()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.new")
    with temporary.open("w", encoding="utf-8") as file:
        try:
            yield Tally(write=file.write)
        finally:
            file.flush()
            if file.tell():
                temporary.replace(path)
            else:
                temporary.unlink()
                path.unlink(missing_ok=True)


def _printable(text: str) -> str:
    """Names from outside end up on terminals and pages: no control characters, bounded."""
    text = text if len(text) <= 300 else text[:299] + "…"
    return "".join(char if char.isprintable() else "�" for char in text)
