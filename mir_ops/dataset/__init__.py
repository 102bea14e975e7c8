"""Use cases on dataset versions: import, merge, filter, sample, export, count.

What is named here loads on first use, so that a command that only parses revisions stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mir_ops.dataset.conditions import Bounds, Conditions, matching_assets
    from mir_ops.dataset.counting import statistics
    from mir_ops.dataset.duplicates import (
        find_duplicates,
        find_leakage,
        remove_duplicates,
    )
    from mir_ops.dataset.exporting import ExportFolders, export_dataset
    from mir_ops.dataset.filtering import filter_dataset, sample, selected_again, subset
    from mir_ops.dataset.histograms import Analysis, analyse
    from mir_ops.dataset.importing import ImportResult, import_dataset
    from mir_ops.dataset.merging import fuse, merge
    from mir_ops.dataset.readers import to_fiftyone, to_pandas, to_torch
    from mir_ops.dataset.report import Issue, Report
    from mir_ops.dataset.sampling import Sampling
    from mir_ops.dataset.sources import source_digest
    from mir_ops.dataset.splitting import split_dataset

__all__ = [
    "Analysis",
    "Bounds",
    "Conditions",
    "ExportFolders",
    "ImportResult",
    "Issue",
    "Report",
    "Sampling",
    "analyse",
    "export_dataset",
    "filter_dataset",
    "find_duplicates",
    "find_leakage",
    "fuse",
    "import_dataset",
    "matching_assets",
    "merge",
    "remove_duplicates",
    "sample",
    "selected_again",
    "source_digest",
    "split_dataset",
    "statistics",
    "subset",
    "to_fiftyone",
    "to_pandas",
    "to_torch",
]

_MODULES = {
    "Analysis": "histograms",
    "Bounds": "conditions",
    "Conditions": "conditions",
    "ExportFolders": "exporting",
    "ImportResult": "importing",
    "Issue": "report",
    "Report": "report",
    "Sampling": "sampling",
    "analyse": "histograms",
    "export_dataset": "exporting",
    "filter_dataset": "filtering",
    "find_duplicates": "duplicates",
    "find_leakage": "duplicates",
    "fuse": "merging",
    "import_dataset": "importing",
    "matching_assets": "conditions",
    "merge": "merging",
    "remove_duplicates": "duplicates",
    "sample": "filtering",
    "selected_again": "filtering",
    "source_digest": "sources",
    "split_dataset": "splitting",
    "statistics": "counting",
    "subset": "filtering",
    "to_fiftyone": "readers",
    "to_pandas": "readers",
    "to_torch": "readers",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
    found = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = found
    return found
