from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mir_ops.console.images.memory import Memory, size_of


def made(size: int) -> Callable[[], bytes]:
    return lambda: bytes(size)


def test_what_was_not_used_for_longest_goes_first() -> None:
    memory = Memory(most=5000)
    for name in "abc":
        memory.get(name, made(1000))
    memory.get("a", made(1000))

    memory.get("d", made(1500))

    calls: list[str] = []
    for name in "acd":
        memory.get(name, lambda name=name: calls.append(name))  # type: ignore[misc]
    memory.get("b", lambda: calls.append("b"))
    assert calls == ["b"]


def test_no_more_is_held_than_was_said() -> None:
    memory = Memory(most=10_000)

    for number in range(200):
        memory.get(number, made(number * 20))

    assert 0 < memory.held <= 10_000


def test_what_is_too_large_is_given_and_not_kept() -> None:
    memory = Memory(most=1000)
    memory.get("small", made(10))

    assert len(memory.get("large", made(5000))) == 5000
    assert memory.held < 1000
    assert memory.get("small", pytest.fail) == bytes(10)


def test_many_who_ask_at_once_wait_for_one() -> None:
    memory, calls, ready = Memory(), [], threading.Event()

    def make() -> int:
        calls.append(1)
        ready.wait(30)
        return 7

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(memory.get, "key", make) for _ in range(8)]
        ready.set()
        assert [one.result() for one in asked] == [7] * 8
    assert calls == [1]


def test_a_failure_is_told_and_tried_again() -> None:
    memory = Memory()

    def fail() -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        memory.get("key", fail)

    assert memory.get("key", lambda: 3) == 3


def test_sizes_are_those_of_arrays() -> None:
    assert size_of([np.zeros(1000), {"a": bytes(500)}]) >= 8500
