"""Perceptual hashes: 64 bits of an image that stay alike when it is resized or saved again.

A hash compares each pixel of the image, shrunk to 9 x 8 grey ones as it is displayed, with the one
on its right. Images without contrast, such as a blank one, have the hash 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mir_ops.errors import InvalidInputError, StoreError
from mir_ops.formats.images import ImageRefusedError, inspect_image, open_image
from mir_ops.store import rows

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

    from mir_ops.store import Store, Version

Hashes = npt.NDArray[np.uint64]
Index = npt.NDArray[np.int64]

MOST_DISTANCE: Final = 8
NO_CONTRAST: Final = 0  # the smallest hash

_TURNS: Final = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
_BITS: Final = 64
_BATCH: Final = 1024
_THREADS: Final = 4
_MOST_KEPT_BITS: Final = 3  # bands that must agree: more would mean too many combinations


@dataclass(frozen=True, slots=True, kw_only=True)
class Hashed:
    """The hash of each image of a version, in the order of their ids, and which were missing."""

    hashes: Hashes
    computed: npt.NDArray[np.bool_]


def perceptual_hashes(
    store: Store, version: Version, on_progress: Callable[[float, str], None] = lambda _s, _m: None
) -> Hashed:
    """The hashes of a version's images: the stored ones, the others computed in threads."""
    table = version.assets(columns=["asset_id", "perceptual_hash"])
    column = rows.one_array(table["perceptual_hash"])
    missing = np.asarray(column.is_null().to_numpy(zero_copy_only=False), bool)
    hashes = column.fill_null(0).to_numpy(zero_copy_only=False).astype(np.uint64)
    places = np.flatnonzero(missing)
    digests = [one.hex() for one in table["asset_id"].take(pa.array(places)).to_pylist()]
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(places), _BATCH):
            batch = digests[start : start + _BATCH]
            found = list(pool.map(lambda digest: _hash_of(store, digest), batch))
            hashes[places[start : start + len(batch)]] = found
            on_progress(start / len(places), f"{start} of {len(places)} images hashed")
    return Hashed(hashes=hashes, computed=missing)


def difference_hash(data: bytes) -> int:
    """The hash of an image's bytes; raises ValueError for what does not decode."""
    try:
        facts = inspect_image(data)
        grey = _grey(open_image(data, facts.media_type), facts.orientation)
    except ImageRefusedError as error:
        raise ValueError(str(error) or error.code) from None
    except Exception as error:  # noqa: BLE001 - decoders raise anything on hostile bytes
        raise ValueError(str(error) or type(error).__name__) from None
    bits = np.packbits(grey[:, 1:] > grey[:, :-1])
    return int.from_bytes(bits.tobytes(), "big")


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """Different hashes, ascending, and pairs of them that are near.

    `place` says for each image which of `values` its hash is; `first` and `second` are places in
    `values`, each pair once, the smaller first.
    """

    values: Hashes
    place: Index
    first: Index
    second: Index


def find_neighbours(hashes: Hashes, distance: int) -> Neighbours:
    """All pairs of different hashes that differ in at most `distance` bits.

    Bits are cut into bands; of two hashes that differ in so few bits some bands agree, so that
    sorting by every choice of bands brings them together: nothing is compared with everything.
    The hash of images without contrast is near no other one.
    """
    check_distance(distance)
    values, place = np.unique(hashes, return_inverse=True)
    offset = int(np.searchsorted(values, np.uint64(NO_CONTRAST), "right"))
    first, second = _unequal_pairs(values[offset:], distance)
    return Neighbours(values=values, place=place, first=first + offset, second=second + offset)


def check_distance(distance: int | None) -> None:
    """Refuse a distance that would take too many comparisons; None is none."""
    if distance is not None and not 0 <= distance <= MOST_DISTANCE:
        raise InvalidInputError(
            f"Cannot look for hashes that differ in {distance} bits",
            code="bad-distance",
            hint=f"Use 0 (alike) to {MOST_DISTANCE}",
        )


def distances(one: Hashes, other: Hashes) -> npt.NDArray[np.uint8]:
    """In how many bits hashes differ, one by one."""
    bits: npt.NDArray[np.uint8] = np.bitwise_count(one ^ other)
    return bits


def _grey(image: ImageFile, orientation: int) -> npt.NDArray[np.int16]:
    """8 rows of 9 grey pixels, upright."""
    from PIL import Image

    image.draft("L", (64, 64))
    plain: Image.Image = image
    if image.mode.startswith("I"):  # 16 bits a pixel
        deep = np.asarray(image, np.int64) >> 8
        plain = Image.fromarray(np.clip(deep, 0, 255).astype(np.uint8))
    turn = _TURNS.get(orientation)
    if turn is not None:
        plain = plain.transpose(Image.Transpose[turn])
    return np.asarray(plain.convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)


def _hash_of(store: Store, digest: str) -> int:
    try:
        return difference_hash(store.get_blob(digest))
    except ValueError as error:
        raise StoreError(
            f"The image {digest} cannot be decoded: {error}", code="unreadable-image"
        ) from None


def _unequal_pairs(values: Hashes, distance: int) -> tuple[Index, Index]:
    """Pairs among hashes that are all different."""
    if distance == 0 or len(values) < 2:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    agreeing = _agreeing_bands(len(values), distance)
    found: list[npt.NDArray[np.int64]] = []
    for mask in _masks(distance + agreeing, agreeing):
        keys = values & mask
        order = np.argsort(keys, kind="stable")
        for left, right in _neighbours(keys[order]):
            one, other = order[left], order[right]
            near = distances(values[one], values[other]) <= distance
            pairs = np.stack([np.minimum(one, other)[near], np.maximum(one, other)[near]])
            found.append(pairs[0] * len(values) + pairs[1])
    codes = np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)
    return codes // len(values), codes % len(values)


def _agreeing_bands(amount: int, distance: int) -> int:
    """So many bands that hardly any two hashes agree in them by chance."""
    for agreeing in range(1, _MOST_KEPT_BITS):
        if 1 << (_BITS * agreeing // (distance + agreeing)) >= amount:
            return agreeing
    return _MOST_KEPT_BITS


def _masks(bands: int, agreeing: int) -> Iterator[np.uint64]:
    """The bits of every choice of bands."""
    cuts = [_BITS * band // bands for band in range(bands + 1)]
    single = [(1 << high) - (1 << low) for low, high in pairwise(cuts)]
    for chosen in combinations(single, agreeing):
        yield np.uint64(sum(chosen))


def _neighbours(keys: Hashes) -> Iterator[tuple[Index, Index]]:
    """Places of equal keys among sorted ones: first neighbours, then those one further, and on."""
    left = np.arange(len(keys))
    lag = 1
    while len(left):
        left = left[: np.searchsorted(left, len(keys) - lag)]
        left = left[keys[left] == keys[left + lag]]
        if len(left):
            yield left, left + lag
        lag += 1
