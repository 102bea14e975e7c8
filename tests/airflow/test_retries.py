"""Which errors a task tries again."""

from __future__ import annotations

import json
from collections.abc import Callable

DECIDE = """
import json
from mir_airflow.retries import (
    LABEL_RETRIES, LABEL_TRIES, MIR_RETRIES, OPENING_RETRIES, STEP_RETRIES, STEP_TRIES,
)
from mir_ops.errors import (
    ConflictError, InvalidInputError, MergeConflictError, NotFoundError, StoreError,
)
from mir_ops.quality import GateFailedError

def decide(policy, error, try_number=1, max_tries=3):
    decision = policy.evaluate(error, try_number, max_tries)
    delay = decision.retry_delay
    return [decision.action.value, delay and delay.total_seconds()]

kinds = (
    InvalidInputError, GateFailedError, MergeConflictError, NotFoundError, ConflictError,
    StoreError, OSError,
)
print("\\n" + json.dumps({
    "steps": {kind.__name__: decide(MIR_RETRIES, kind("x")) for kind in kinds},
    "opening": {
        kind.__name__: decide(OPENING_RETRIES, kind("x"), 1, STEP_TRIES) for kind in kinds
    },
    "outage": [
        decide(STEP_RETRIES, StoreError("x", code="catalog-unavailable"), at, STEP_TRIES)
        for at in range(1, STEP_TRIES + 1)
    ],
    "others": {
        code: [decide(STEP_RETRIES, StoreError("x", code=code), at, STEP_TRIES) for at in (1, 3)]
        for code in ("damaged-store", "catalog-too-new")
    },
    "labels": {
        kind.__name__: [decide(LABEL_RETRIES, kind("x"), at, LABEL_TRIES) for at in (1, 3, 9)]
        for kind in (InvalidInputError, ConflictError, StoreError, OSError)
    },
}))
"""


def test_input_errors_fail_at_once_and_outages_are_tried_again(
    in_airflow: Callable[..., str],
) -> None:
    decided = json.loads(in_airflow(DECIDE).splitlines()[-1])

    wrong = ("InvalidInputError", "GateFailedError", "MergeConflictError", "NotFoundError")
    always = {name: ["fail", None] for name in wrong}
    outages = {"StoreError": ["default", None], "OSError": ["default", None]}
    assert decided["steps"] == {**always, "ConflictError": ["retry", 5.0], **outages}
    waits = [seconds for action, seconds in decided["outage"]]
    assert waits == [30.0, 60.0, 120.0, 240.0, 480.0, *5 * [600.0]]
    assert sum(waits) > 3600
    assert all(tries == [["default", None], ["fail", None]] for tries in decided["others"].values())
    assert decided["opening"] == {**always, "ConflictError": ["fail", None], **outages}
    assert decided["labels"] == {
        "InvalidInputError": 3 * [["fail", None]],
        "ConflictError": 3 * [["retry", 5.0]],
        "StoreError": [["retry", 30.0], ["retry", 120.0], ["retry", 600.0]],
        "OSError": [["default", None], ["fail", None], ["fail", None]],
    }
