"""What a version's images can be filtered and sorted by, and how many each value has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from mir_ops.console.images.indexes import Entries, Indexes
from mir_ops.console.images.matching import score_layer, score_layers
from mir_ops.console.images.selecting import UNASSIGNED, Selection
from mir_ops.console.messages import _
from mir_ops.console.rendering import layer_text
from mir_ops.evaluation.marks import MISTAKES
from mir_ops.store import Version
from mir_ops.store.schema import SPLITS

Counts = dict[str, list[tuple[str, int]]]
_MOST_KEYS: Final = 12
_MOST_VALUES: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One value of a filter: where it leads, how much it would show."""

    text: str
    address: str = ""
    count: int | None = None
    boxes: int | None = None
    share: int = 0  # of the largest count, in hundredths
    value: str = ""
    class_id: int | None = None
    active: bool = False


def class_choices(version: Version, selection: Selection) -> list[Choice]:
    """Counts come from the commit's statistics, of ground truth or the first layer shown."""
    layers = [name for name in (selection.layers or ()) if name in version.stats.layers]
    stats = version.stats.layers[layers[0]] if layers else None
    images = stats.class_assets if stats else {}
    boxes = stats.classes if stats else {}
    most = max(images.values(), default=0) or 1
    return [
        Choice(
            text=name,
            address=selection.address(class_id=class_id, page=1),
            class_id=class_id,
            count=images.get(class_id, 0),
            boxes=boxes.get(class_id, 0),
            share=round(100 * images.get(class_id, 0) / most),
            active=class_id == selection.class_id,
        )
        for class_id, name in zip(version.taxonomy.ids, version.taxonomy.names, strict=True)
    ]


def split_choices(version: Version, selection: Selection) -> list[Choice]:
    """Splits that have an image."""
    counts = version.stats.splits
    return [
        Choice(
            text=_("not assigned") if name == UNASSIGNED else name,
            address=selection.address(split=name, page=1),
            value=name,
            count=counts.get("" if name == UNASSIGNED else name, 0),
            active=name == selection.split,
        )
        for name in (*SPLITS, UNASSIGNED)
        if counts.get("" if name == UNASSIGNED else name, 0) or name == selection.split
    ]


def attribute_choices(
    indexes: Indexes, version: Version, selection: Selection
) -> Mapping[str, list[Choice]]:
    """By attribute its most frequent values; `key` alone is any value."""
    counts = indexes.kept(
        version, "assets", "attribute counts", lambda: _counts(indexes.attributes(version))
    )
    return {
        key: [
            Choice(
                text=value or _("any value"),
                value=f"{key}={value}" if value else key,
                count=count,
                active=(f"{key}={value}" if value else key) in selection.attributes,
            )
            for value, count in values
        ]
        for key, values in counts.items()
    }


def tag_choices(indexes: Indexes, version: Version, selection: Selection) -> list[Choice]:
    """Tags of the boxes in the layers that are shown, with the number of boxes: each key, and its
    most frequent values."""
    counts: Counter[tuple[str, str]] = Counter()
    for layer in selection.layers or ():
        for key, values in _tag_counts(indexes, version, layer).items():
            counts.update({(key, value): count for value, count in values})
    return [
        Choice(text=f"{key}={value}" if value else key, boxes=count)
        for (key, value), count in counts.items()
    ]


def _tag_counts(indexes: Indexes, version: Version, layer: str) -> Counts:
    return indexes.kept(version, layer, "tag counts", lambda: _counts(indexes.tags(version, layer)))


def _counts(entries: Entries) -> Counts:
    """By key, of the most frequent: how many have it, as the value `""`, and each value."""
    keys = entries.keys.indices.to_numpy().astype(np.int64)
    each = np.bincount(keys, minlength=len(entries.keys.dictionary))
    found: Counts = {}
    for code in np.argsort(-each, kind="stable")[:_MOST_KEYS].tolist():
        if not each[code]:
            continue
        values = entries.values.indices.to_numpy()[keys == code]
        amounts = np.bincount(values, minlength=len(entries.values.dictionary))
        most = np.argsort(-amounts, kind="stable")[:_MOST_VALUES]
        most = most[amounts[most] > 0]
        texts = entries.values.dictionary.take(pa.array(most)).to_pylist()
        named = zip(texts, amounts[most].tolist(), strict=True)
        found[entries.keys.dictionary[code].as_py()] = [
            ("", int(each[code])),
            *((text, count) for text, count in named if text),
        ]
    return found


def sort_choices(version: Version, selection: Selection) -> list[Choice]:
    """Orders: that of the picks or of the ids first, then by each layer of scores."""
    own = _("picked first") if score_layer(version) else _("by id")
    found = [Choice(text=own, active=selection.sort is None)]
    for name in score_layers(version):
        rest = name.partition(":")[2].removeprefix(MISTAKES.partition(":")[2])
        text = (
            _("mistakes of %(model)s", model=rest[:12])
            if name.startswith(MISTAKES)
            else _("score of %(strategy)s", strategy=rest or layer_text(name))
        )
        found.append(Choice(text=text, value=name, active=name == selection.sort))
    return found
