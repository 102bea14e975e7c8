"""Divide a dataset version into training, validation and test images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mir_ops.dataset.sampling import check_seed, check_strata, draw, line_up, strata_of
from mir_ops.errors import InvalidInputError
from mir_ops.store import Operation, rows, schema

if TYPE_CHECKING:
    from mir_ops.store import Commit, Store, Version

Codes = npt.NDArray[np.int8]


def split_dataset(
    store: Store,
    rev: str,
    branch: str,
    *,
    rates: Mapping[str, float] | None = None,
    counts: Mapping[str, int] | None = None,
    seed: int = 0,
    stratify: str | None = None,
    op_id: str,
    message: str | None = None,
) -> Commit:
    """Put every image of a version into a split, by shares or by numbers of images.

    Images of one `group_id` come into one split, which makes the sizes approximate; without groups
    they are exact. What the rates or counts leave over gets no split. `stratify` as in sampling.
    The same operation splits once.
    """
    if done := store.find_operation(branch, op_id):
        return done
    check_seed(seed)
    check_strata(stratify)
    _check_parts(rates, counts)
    version = store.read(rev)
    ids = version.asset_ids()
    amounts = dict(counts) if counts else _amounts(rates or {}, len(ids))
    codes = _assigned(version, ids, amounts, seed, stratify)
    given = {"rates": dict(rates) if rates else None, "counts": dict(counts) if counts else None}
    parameters: dict[str, Any] = given | {"stratify": stratify}
    with store.edit(
        branch,
        op_id=op_id,
        operation=Operation(kind="split", parameters=parameters, inputs=(version.id,), seed=seed),
        message=message or f"Split {rev}: {', '.join(f'{n} {k}' for k, n in amounts.items())}",
        base=version,
        start=version.commit if rev == branch else None,
    ) as edit:
        edit.put_assets(_moved(version, ids, codes, list(amounts)))
    return edit.commit


def _assigned(
    version: Version, ids: pa.Array, amounts: Mapping[str, int], seed: int, stratify: str | None
) -> Codes:
    """For each image the number of its split among `amounts`, -1 for none."""
    groups = rows.one_array(version.assets(columns=["group_id"])["group_id"])
    line = line_up(ids, strata_of(version, stratify, ids), seed=seed, groups=groups)
    codes = np.full(len(line.weight), -1, np.int8)
    for number, amount in enumerate(amounts.values()):
        codes[draw(line, amount, codes >= 0)] = number
    return codes[line.unit]


def _moved(version: Version, ids: pa.Array, codes: Codes, names: list[str]) -> pa.Table:
    """The rows of the images that come into another split."""
    taken = pa.array(codes, mask=codes < 0)
    split = pa.array(names, pa.string()).take(taken)
    before = version.assets(columns=["split"])["split"]
    moved = pa.array(
        split.fill_null("").to_numpy(zero_copy_only=False) != before.fill_null("").to_numpy()
    )
    table = version.assets(ids=ids.filter(moved))
    return table.set_column(table.column_names.index("split"), "split", split.filter(moved))


def _amounts(rates: Mapping[str, float], images: int) -> dict[str, int]:
    """Whole numbers of images; rates that add up to 1 leave no image over."""
    ends = np.floor(np.cumsum(list(rates.values())) * images + 0.5).astype(int)
    amounts = np.diff(np.minimum(ends, images), prepend=0)
    return dict(zip(rates, amounts.tolist(), strict=True))


def _check_parts(rates: Mapping[str, float] | None, counts: Mapping[str, int] | None) -> None:
    parts: Mapping[str, float] = counts or rates or {}
    if bool(rates) == bool(counts):
        raise _bad_parts("A split needs either rates or counts")
    for name, value in parts.items():
        if name not in schema.SPLITS:
            raise _bad_parts(f"No split is called `{name}`")
        if not value >= 0:
            raise _bad_parts(f"The part `{name}` cannot be {value}")
    if rates and not sum(rates.values()) <= 1 + 1e-9:
        raise _bad_parts(f"The rates add up to {sum(rates.values())}, more than 1")


def _bad_parts(reason: str) -> InvalidInputError:
    return InvalidInputError(
        reason,
        code="bad-split",
        hint="Give parts such as `tr:0.8;va:0.1;te:0.1`, or numbers of images",
    )
