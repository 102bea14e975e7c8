"""Errors of single steps say which parameter they are about."""

from __future__ import annotations

import pickle

import pytest

from mir_ops.errors import MergeConflictError
from mir_ops.tasks.asking import naming


def test_an_error_names_its_parameter_and_stays_what_it_is() -> None:
    with pytest.raises(MergeConflictError) as caught, naming("merge_strategy", hint="Choose one"):
        raise MergeConflictError("Both sides changed 1 asset", {"assets": ["ab"]})

    error = caught.value
    assert str(error) == "`merge_strategy`: Both sides changed 1 asset"
    assert (error.code, error.hint, error.conflicts) == (
        "merge-conflict", "Choose one", {"assets": ["ab"]},
    )  # fmt: skip
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
