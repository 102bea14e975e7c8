"""Which annotations belong to which image of a source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mir_ops.dataset.layout import Layout
from mir_ops.dataset.report import Tally


def match_files(layout: Layout, stated: Mapping[str, str], tally: Tally) -> dict[str, str]:
    """Which annotation file belongs to which image: by the same place, else by a unique name.

    `stated` has the annotation files that could be read, with the image's name as they state it.
    Returns image name: annotation name. What fits no image, or several, is counted.
    """
    by_key = _grouped((key, name) for name, key in layout.images.items())
    claims: dict[str, list[str]] = {}
    loose: list[str] = []
    for name in sorted(stated):
        # A mask lies in a folder of its own: its name has to do.
        key = layout.annotations.get(name, "")
        candidates = _narrowed(by_key.get(key, []), stated[name])
        if len(candidates) == 1:
            claims.setdefault(candidates[0], []).append(name)
        elif candidates:
            tally.add("annotation-ambiguous", f"{name}: {', '.join(candidates[:3])}")
        else:
            loose.append(name)
    if loose:
        _match_loose(layout, loose, stated, claims, tally)
    return _settled(claims, tally)


def match_rows(
    images: Iterable[str], sources: Sequence[str], stated: Sequence[str], tally: Tally
) -> dict[str, int]:
    """Which row belongs to which image, where one file speaks of many: by the end of the path.

    Returns image name: row. What fits no image, or several, is counted.
    """
    by_last = _grouped((_last(name), name) for name in images)
    claims: dict[str, list[int]] = {}
    for row, path in enumerate(stated):
        wanted = path.replace("\\", "/").removeprefix("./")
        found = _ending_like(by_last.get(_last(wanted), []), wanted)
        if len(found) == 1:
            claims.setdefault(found[0], []).append(row)
        else:
            code = "annotation-ambiguous" if found else "annotation-without-image"
            tally.add(code, f"{sources[row]}: {path}")
    matched: dict[str, int] = {}
    for image, rows in claims.items():
        if len(rows) == 1:
            matched[image] = rows[0]
        else:
            tally.add_all("annotation-ambiguous", (f"{sources[row]}: {image}" for row in rows))
    return matched


def match_names(images: Iterable[str], wanted: Sequence[str]) -> dict[str, list[str]]:
    """The images that each name of a list means: by name, or by name without suffix."""
    groups = _grouped((key, name) for name in images for key in {_last(name), _bare(_last(name))})
    return {name: groups.get(_last(name), []) for name in wanted}


def _match_loose(
    layout: Layout,
    loose: Iterable[str],
    stated: Mapping[str, str],
    claims: dict[str, list[str]],
    tally: Tally,
) -> None:
    by_stem = _grouped((_last(key), name) for name, key in layout.images.items())
    exact = set(claims)
    for name in loose:
        found = by_stem.get(_last(layout.annotations.get(name, _bare(name))), [])
        candidates = _narrowed([image for image in found if image not in exact], stated[name])
        if len(candidates) == 1:
            claims.setdefault(candidates[0], []).append(name)
        elif candidates:
            tally.add("annotation-ambiguous", f"{name}: {', '.join(candidates[:3])}")
        else:
            tally.add("annotation-without-image", name)


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


def _ending_like(images: list[str], wanted: str) -> list[str]:
    """Those that agree with the path in the most of its last parts."""
    if len(images) < 2:
        return images
    parts = wanted.split("/")[::-1]

    def agreeing(name: str) -> int:
        pairs = zip(name.split("/")[::-1], parts, strict=False)
        return next((n for n, (a, b) in enumerate(pairs) if a != b), len(parts))

    most = max(map(agreeing, images))
    return [image for image in images if agreeing(image) == most]


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _bare(name: str) -> str:
    return name.rpartition(".")[0] or name
