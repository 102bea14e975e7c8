"""What YMIR's repository holds, as `datasets_children.py` writes what ours holds. Python 3.8."""

from __future__ import annotations

import subprocess
import sys

import yaml
from mir.protos import mir_command_pb2 as mirpb

SPLITS = {0: "", 1: "train", 2: "val", 3: "test"}


def read(rev, name, message):
    body = subprocess.run(
        ["git", "show", f"{rev}:{name}.mir"], stdout=subprocess.PIPE, check=True
    ).stdout
    message.ParseFromString(body)
    return message


def main(rev, file):
    with open(".mir/labels.yaml") as labels:
        names = {entry["id"]: entry["name"] for entry in yaml.safe_load(labels)["labels"]}
    metadatas = read(rev, "metadatas", mirpb.MirMetadatas())
    annotations = read(rev, "annotations", mirpb.MirAnnotations())
    lines = [f"{sha1} {SPLITS[found.tvt_type]}" for sha1, found in metadatas.attributes.items()]
    for sha1, image in annotations.ground_truth.image_annotations.items():
        for one in image.boxes:
            box = one.box
            lines.append(f"{sha1} {names[one.class_id]} {box.x} {box.y} {box.w} {box.h}")
    with open(file, "w") as out:
        out.write("\n".join(sorted(lines)))


if __name__ == "__main__":
    main(*sys.argv[1:])
