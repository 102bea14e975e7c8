"""A model's classes among those of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from mir_ops.executor.importing import check_classes

if TYPE_CHECKING:
    from mir_ops.store import Store
    from mir_ops.taxonomy import Taxonomy

Unknown = Literal["stop", "ignore", "add"]


def class_ids_in(
    store: Store, taxonomy: Taxonomy, names: Sequence[str], unknown: Unknown
) -> dict[str, int]:
    """The ids of a model's classes.

    Those that the dataset does not know are refused (`stop`), left out, or registered.
    """
    if unknown == "stop":
        aliases = [alias for entry in taxonomy.classes for alias in entry.aliases]
        check_classes(names, [*taxonomy.names, *aliases])
    found = {name: id_ for name in names if (id_ := taxonomy.id_of(name)) is not None}
    missing = [name for name in names if name not in found]
    if unknown == "add" and missing:
        registered = store.register_classes(missing)
        found |= {name: registered[name.strip().lower()] for name in missing}
    return found
