"""Exact counts of the rows of one table, which can be added and subtracted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import pyarrow as pa

from mir_ops.store import rows
from mir_ops.store.commits import LayerStats, Stats

K = TypeVar("K", int, str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Covered assets, rows, and rows and assets by class or assets by split."""

    assets: int = 0
    rows: int = 0
    classes: Counter[int] = field(default_factory=Counter)
    class_assets: Counter[int] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)

    def replaced(self, old: Counts, new: Counts) -> Counts:
        """These counts after the rows counted in `old` gave way to those in `new`."""
        return Counts(
            assets=self.assets - old.assets + new.assets,
            rows=self.rows - old.rows + new.rows,
            classes=_replaced(self.classes, old.classes, new.classes),
            class_assets=_replaced(self.class_assets, old.class_assets, new.class_assets),
            splits=_replaced(self.splits, old.splits, new.splits),
        )


def count(table: pa.Table | None) -> Counts:
    """Count rows that are sorted by asset id and carry their state; tombstones do not count."""
    if table is None:
        return Counts()
    covered = rows.covered_only(table)
    real = rows.rows_only(covered)
    by_class = rows.class_counts(real)
    return Counts(
        assets=len(rows.distinct(covered)),
        rows=real.num_rows,
        classes=Counter({class_id: entry[0] for class_id, entry in by_class.items()}),
        class_assets=Counter({class_id: entry[1] for class_id, entry in by_class.items()}),
        splits=Counter(rows.split_counts(real)) if "split" in real.column_names else Counter(),
    )


def of_stats(stats: Stats) -> dict[str, Counts]:
    """The counts of each table of a version."""
    counts = {
        name: Counts(
            assets=layer.assets,
            rows=layer.rows,
            classes=Counter(layer.classes),
            class_assets=Counter(layer.class_assets),
        )
        for name, layer in stats.layers.items()
    }
    counts[rows.ASSETS] = Counts(
        assets=stats.assets, rows=stats.assets, splits=Counter(stats.splits)
    )
    return counts


def to_stats(counts: Mapping[str, Counts]) -> Stats:
    """What a commit says about its tables."""
    assets = counts.get(rows.ASSETS, Counts())
    return Stats(
        assets=assets.assets,
        splits=dict(sorted(assets.splits.items())),
        layers={
            name: LayerStats(
                assets=layer.assets,
                rows=layer.rows,
                classes=dict(sorted(layer.classes.items())),
                class_assets=dict(sorted(layer.class_assets.items())),
            )
            for name, layer in sorted(counts.items())
            if name != rows.ASSETS and layer.assets
        },
    )


def _replaced(kept: Counter[K], old: Counter[K], new: Counter[K]) -> Counter[K]:
    result = Counter(kept)
    result.subtract(old)
    result.update(new)
    return Counter({key: value for key, value in result.items() if value})
