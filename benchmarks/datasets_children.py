"""What `benchmarks/datasets.py` does in processes of their own, so that itself stays small."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

SIDE, BOXES = 96, 4
HEAVY = ("pyarrow", "numpy", "boto3", "sqlalchemy")


def generate(folder: str, size: str, classes: str) -> None:
    """Images of 96 x 96 pixels with a Pascal VOC file each, and their index."""
    import numpy as np
    from PIL import Image

    place = Path(folder).absolute()
    (place / "images").mkdir(parents=True)
    (place / "annotations").mkdir()
    random = np.random.default_rng(sum(place.name.encode()))
    index = []
    for number in range(int(size)):
        name = f"{place.name}-{number:07}"
        small = random.integers(0, 255, (20, 20, 3), dtype=np.uint8)
        path = place / f"images/{name}.jpg"
        Image.fromarray(small).resize((SIDE, SIDE)).save(path, quality=80)
        index.append(str(path))
        text = _voc(name, random.integers(0, 40, (BOXES, 4)), random.integers(0, int(classes), 4))
        (place / f"annotations/{name}.xml").write_text(text)
    (place / "index.tsv").write_text("\n".join(index) + "\n")


def _voc(name: str, places: object, classes: object) -> str:
    objects = "".join(
        f"<object><name>class{n:02}</name><pose>Unspecified</pose><truncated>0</truncated>"
        f"<difficult>0</difficult><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x + w + 5}</xmax>"
        f"<ymax>{y + h + 5}</ymax></bndbox></object>\n"
        for n, (x, y, w, h) in zip(classes.tolist(), places.tolist(), strict=True)  # type: ignore[attr-defined]
    )
    return (
        f"<annotation><folder>images</folder><filename>{name}.jpg</filename><size><width>{SIDE}"
        f"</width><height>{SIDE}</height><depth>3</depth></size><segmented>0</segmented>\n"
        f"{objects}</annotation>"
    )


def limit(source: str, target: str) -> None:
    """The bare work of an import: read, hash, write, look at the header, parse the XML."""
    from PIL import Image

    Path(target).mkdir()
    for line in (Path(source) / "index.tsv").read_text().splitlines():
        image = Path(line)
        data = image.read_bytes()
        with open(f"{target}/{hashlib.sha256(data).hexdigest()}", "wb") as file:
            file.write(data)
        with Image.open(image) as opened:
            assert opened.size == (SIDE, SIDE)
        ElementTree.fromstring((image.parents[1] / f"annotations/{image.stem}.xml").read_bytes())


def rows(repo: str, rev: str, file: str) -> None:
    """A line for each image and each box of a version, sorted."""
    version = _store(repo).read(rev)
    assets = version.assets(columns=["asset_id", "ymir_sha1", "split"])
    sha1 = {}
    lines = []
    for key, name, split in zip(*(assets[c].to_pylist() for c in assets.column_names), strict=True):
        sha1[key] = name.hex()
        lines.append(f"{name.hex()} {split or ''}")
    names = dict(zip(version.taxonomy.ids, version.taxonomy.names, strict=True))
    boxes = version.layer("ground_truth", columns=["asset_id", "class_id", "x", "y", "w", "h"])
    columns = (boxes[column].to_pylist() for column in boxes.column_names)
    for key, class_id, x, y, w, h in zip(*columns, strict=True):
        lines.append(f"{sha1[key]} {names[class_id]} {x:.0f} {y:.0f} {w:.0f} {h:.0f}")
    Path(file).write_text("\n".join(sorted(lines)))


def part(some: str, whole: str) -> None:
    """Says how many images a draw has; everything in it is in the whole."""
    drawn = set(Path(some).read_text().splitlines())
    assert drawn <= set(Path(whole).read_text().splitlines())
    images = {line.split(" ", 1)[0] for line in drawn}
    print(len(images))


def exported(images: str, annotations: str, file: str) -> None:
    """A line for each file of an export: its name, and the boxes of its annotation file."""
    lines = [path.stem for path in Path(images).rglob("*") if path.suffix == ".jpg"]
    for path in Path(annotations).rglob("*.xml"):
        for entry in ElementTree.parse(path).getroot().iter("object"):
            box = [entry.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
            lines.append(" ".join([path.stem, entry.findtext("name") or "", *map(str, box)]))
    Path(file).write_text("\n".join(sorted(lines)))


def loads(command: str, repo: str) -> None:
    """Which heavy packages a command imports."""
    import contextlib
    import io

    from mir_ops.cli.main import main

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert main([command, "--root", repo, "master"]) == 0
    print(" ".join(name for name in HEAVY if name in sys.modules))


def fill(repo: str, size: str) -> None:
    """Versions of made-up rows: `base`, `other` with a fifth as many, `new200`."""
    from store_data import OPERATION, put, random_ids

    from mir_ops.taxonomy import Taxonomy

    store = _store(repo)
    known = store.register_classes([f"class{number:02}" for number in range(21)])
    put(store, "base", random_ids(int(size), 1))
    put(store, "other", random_ids(int(size) // 5, 2))
    put(store, "new200", random_ids(200, 3))
    for branch in ("base", "other", "new200"):
        with store.edit(
            branch, op_id=f"classes-{branch}", operation=OPERATION, message="Name classes"
        ) as edit:
            edit.put_taxonomy(Taxonomy.from_names(known))


def check(repo: str, name: str, rev: str) -> None:
    """A command's result is what plain pyarrow makes of the same rows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    store = _store(repo)
    base, result = store.read("base"), store.read(rev)
    ids, boxes = base.asset_ids(), base.layer("ground_truth", columns=["asset_id", "class_id"])
    found = result.asset_ids()
    if name.startswith("merge"):
        expected = pa.concat_arrays([ids, store.read("other").asset_ids()])
        expected = expected.take(pc.sort_indices(expected))
    elif name.startswith("filter"):
        hit = pc.is_in(boxes["class_id"], value_set=pa.array([3, 7], pa.int32()))
        expected = boxes.filter(hit)["asset_id"].unique()
    else:
        assert len(found) == len(ids) // 10
        expected = found.filter(pc.is_in(found, value_set=ids))
    assert found.equals(expected.combine_chunks() if hasattr(expected, "chunks") else expected)
    if not name.startswith("merge"):
        boxes = boxes.filter(pc.is_in(boxes["asset_id"], value_set=found))
        assert result.layer("ground_truth", columns=["asset_id", "class_id"]).equals(boxes)
        counted = Counter(boxes["class_id"].to_pylist())
        assert counted == dict(result.stats.layers["ground_truth"].classes)


def _store(repo: str):  # type: ignore[no-untyped-def]  # its module is imported late
    from mir_ops.cli.repository import find_repository

    return find_repository(repo).store


TASKS: dict[str, Callable[..., None]] = {
    task.__name__: task for task in (generate, limit, rows, part, exported, loads, fill, check)
}

if __name__ == "__main__":
    TASKS[sys.argv[1]](*sys.argv[2:])
