"""Which blobs of the store the catalog names: packages, logs, reports, records."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

from sqlalchemy import select

from mir_ops.catalog.catalog import Catalog
from mir_ops.catalog.tables import Table

_DIGEST: Final = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


def named_blobs(catalog: Catalog) -> set[str]:
    """Every SHA-256 in any column of any table: rather one too many than one too few."""
    return {digest for text in _texts(catalog) for digest in _DIGEST.findall(text)}


def _texts(catalog: Catalog) -> Iterator[str]:
    with catalog.engine.connect() as connection:
        for table in Table.metadata.sorted_tables:
            for row in connection.execute(select(table)):
                yield json.dumps(list(row), default=str)
