"""What changed between two versions, as JSON has it: of `mir diff --json` and the console's API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mir_ops.store import Version
    from mir_ops.store.diffs import Diff

CHANGES: Final = ("added", "removed", "changed")


def class_rows(
    old: Version, new: Version, diff: Diff
) -> Iterator[tuple[str, str, tuple[int, int, int]]]:
    """Layer and class, with boxes added, removed and changed."""
    names = dict(zip(old.taxonomy.ids, old.taxonomy.names, strict=True))
    names |= dict(zip(new.taxonomy.ids, new.taxonomy.names, strict=True))
    for layer, classes in diff.layers.items():
        for class_id, counts in sorted(classes.items()):
            yield layer, names.get(class_id, f"#{class_id}"), counts


def diff_record(old: Version, new: Version, diff: Diff) -> dict[str, Any]:
    """All counts of a difference."""
    return {
        "from": old.id,
        "to": new.id,
        "images_added": diff.assets_added,
        "images_removed": diff.assets_removed,
        "images_changed": diff.assets_changed,
        "split_moved": diff.split_moved,
        "splits": [
            {"from": before or None, "to": after or None, "images": count}
            for (before, after), count in diff.splits.items()
        ],
        "attributes": {
            name: dict(zip(CHANGES, counts, strict=True))
            for name, counts in diff.attributes.items()
        },
        "classes": [
            {"layer": layer, "class": name, **dict(zip(CHANGES, counts, strict=True))}
            for layer, name, counts in class_rows(old, new, diff)
        ],
        "covered": {
            name: dict(zip(CHANGES, counts, strict=True))
            for name, counts in diff.layer_assets.items()
        },
        "classes_added": list(diff.classes_added.values()),
        "classes_removed": list(diff.classes_removed.values()),
        "classes_renamed": [list(names) for names in diff.classes_renamed.values()],
        "taxonomy_changed": diff.taxonomy_changed,
    }
