"""What a round's model is measured on: the labelled validation images, and frozen test sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from mir_ops.errors import InvalidInputError
from mir_ops.rounds.candidates import without
from mir_ops.store import Store, Version
from mir_ops.taxonomy import Taxonomy


@dataclass(frozen=True, kw_only=True)
class Measured:
    """`tests` has the commits of the project's frozen test sets by name."""

    store: Store
    version: Version  # with the validation images
    tests: Mapping[str, str]

    @cached_property
    def validation(self) -> pa.Array:
        """The labelled assets of the validation split, sorted."""
        return validation_ids(self.version)

    @cached_property
    def ids(self) -> pa.Array:
        """Every image to predict on, each once, sorted."""
        ids = pa.concat_arrays([part for _, part in self._parts])
        return ids.take(pc.sort_indices(ids))

    @cached_property
    def assets(self) -> pa.Table:
        """Their rows, by id; images of a test set are in split `test`."""
        own, *tests = [version.assets(ids=ids) for version, ids in self._parts]
        place = own.schema.get_field_index("split")
        tested = [
            table.set_column(place, own.schema.field(place), pa.repeat("test", table.num_rows))
            for table in tests
        ]
        return pa.concat_tables([own, *tested]).sort_by("asset_id")

    @cached_property
    def truth(self) -> pa.Table:
        """Their ground truth, that of the first set for an image of several."""
        tables = [version.layer("ground_truth", ids=ids) for version, ids in self._parts]
        by = [("asset_id", "ascending"), ("annotation_id", "ascending")]
        return pa.concat_tables(tables).sort_by(by)

    @property
    def said(self) -> str:
        """In words."""
        tests = ", ".join(f"test set `{name}`" for name in self.tests)
        return "the validation images" + (f" and {tests}" if tests else "")

    @property
    def taxonomy(self) -> Taxonomy:
        found = self.version.taxonomy
        for version, _ in self._parts[1:]:
            found = found.joined(version.taxonomy)
        return found

    @cached_property
    def _parts(self) -> list[tuple[Version, pa.Array]]:
        """Versions and the images that each gives, none twice."""
        parts = [(self.version, self.validation)]
        for commit in self.tests.values():
            version = self.store.read_commit_version(commit)
            labelled = version.layer_assets("ground_truth")
            parts.append((version, without(labelled, [ids for _, ids in parts])))
        return parts


def validation_ids(version: Version) -> pa.Array:
    """The labelled assets of the validation split, sorted."""
    assets = version.assets(columns=["asset_id", "split"])
    wanted = pc.and_(
        pc.fill_null(pc.equal(assets["split"], "val"), False),
        pc.is_in(assets["asset_id"], value_set=version.layer_assets("ground_truth")),
    )
    ids = assets.filter(wanted)["asset_id"].combine_chunks()
    if len(ids) == 0:
        raise InvalidInputError(
            "The training version has no labelled validation image",
            code="empty-validation-set",
            hint="Name a validation source with annotations in the project",
        )
    return ids.take(pc.sort_indices(ids))
