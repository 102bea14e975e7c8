"""Operations that leave their result on the branch that they read."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from version_makers import numbers_of, put

from mir_ops.dataset import filtering, splitting
from mir_ops.dataset.conditions import Conditions
from mir_ops.dataset.sampling import Sampling
from mir_ops.errors import ConflictError
from mir_ops.store import Commit, Store

Run = Callable[[Store], Commit]


def _filter(store: Store, name: str = "cat") -> Commit:
    conditions = Conditions(include_classes=(name,))
    return filtering.filter_dataset(store, "work", "work", conditions, op_id="mine")


def _sample(store: Store) -> Commit:
    return filtering.sample(store, "work", "work", Sampling(count=7), op_id="mine")


def _split(store: Store) -> Commit:
    return splitting.split_dataset(store, "work", "work", rates={"train": 1.0}, op_id="mine")


@pytest.fixture
def filled(store: Store) -> Store:
    """Ten images, seven of them with a cat."""
    put(store, "work", {n: ["cat"] if n < 7 else ["dog"] for n in range(10)}, op_id="m1")
    return store


@pytest.mark.parametrize(
    ("module", "step", "run", "left"),
    [
        (filtering, "matching_assets", _filter, 7),
        (filtering, "sampled_assets", _sample, 7),
        (splitting, "draw", _split, 10),
    ],
    ids=["filter", "sample", "split"],
)
def test_what_a_colleague_adds_meanwhile_stays(
    filled: Store,
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    step: str,
    run: Run,
    left: int,
) -> None:
    _commit_during(filled, monkeypatch, module, step)

    run(filled)

    numbers = numbers_of(filled, "work")
    assert (len(numbers), 70 in numbers) == (left + 1, True)
    assert filled.branch("work").tip().op_id == "mine"


def test_keeping_the_smaller_part_of_what_moved_is_a_conflict(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    _commit_during(filled, monkeypatch, filtering, "matching_assets")

    with pytest.raises(ConflictError, match="Branch `work` moved while it was edited"):
        _filter(filled, "dog")

    assert numbers_of(filled, "work") == [*range(10), 70]


def _commit_during(
    store: Store, monkeypatch: pytest.MonkeyPatch, module: ModuleType, step: str
) -> None:
    """A colleague commits after this step of an operation."""
    real = getattr(module, step)

    def step_and_colleague(*arguments: Any) -> Any:
        found = real(*arguments)
        put(store, "work", {70: ["dog"]}, op_id="bob")
        return found

    monkeypatch.setattr(module, step, step_and_colleague)
