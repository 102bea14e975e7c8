"""Asset ids are found among others, also when many begin alike."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from mir_ops.store import rows, schema

IDS = st.lists(
    st.sampled_from([bytes([a]) * 8 + bytes([b]) * 24 for a in range(9) for b in (0, 9)])
)


def _ids(values: list[bytes]) -> pa.Array:
    return pa.array(values, schema.ASSET_ID)


@given(IDS, IDS)
def test_membership_is_that_of_sets(some: list[bytes], others: list[bytes]) -> None:
    found = rows.is_in(_ids(some), _ids(others))

    assert found.tolist() == [one in set(others) for one in some]


@given(IDS, IDS)
def test_without_and_common_divide_the_ids_in_their_order(
    some: list[bytes], others: list[bytes]
) -> None:
    left, both = (f(_ids(some), _ids(sorted(set(others)))) for f in (rows.without, rows.common))

    assert left.to_pylist() == [one for one in some if one not in others]
    assert both.to_pylist() == [one for one in some if one in others]
