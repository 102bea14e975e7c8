"""Use cases on dataset versions: import, merge, filter, sample, export, count."""

from mir_ops.dataset.annotations import annotation_id
from mir_ops.dataset.filtering import filter_dataset, sample, subset
from mir_ops.dataset.importing import ImportResult, import_dataset
from mir_ops.dataset.merging import merge
from mir_ops.dataset.report import Issue, Report
from mir_ops.dataset.sources import source_digest

__all__ = [
    "ImportResult",
    "Issue",
    "Report",
    "annotation_id",
    "filter_dataset",
    "import_dataset",
    "merge",
    "sample",
    "source_digest",
    "subset",
]
