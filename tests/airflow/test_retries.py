"""Which errors a task tries again."""

from __future__ import annotations

import json
from collections.abc import Callable

DECIDE = """
import json
from mir_airflow.retries import MIR_RETRIES, OPENING_RETRIES
from mir_ops.errors import ConflictError, InvalidInputError, NotFoundError, StoreError
from mir_ops.quality import GateFailedError

def decide(policy, error):
    decision = policy.evaluate(error, 1, 3)
    delay = decision.retry_delay
    return [decision.action.value, delay and delay.total_seconds()]

kinds = (InvalidInputError, GateFailedError, NotFoundError, ConflictError, StoreError, OSError)
print("\\n" + json.dumps({
    "steps": {kind.__name__: decide(MIR_RETRIES, kind("x")) for kind in kinds},
    "opening": {kind.__name__: decide(OPENING_RETRIES, kind("x")) for kind in kinds},
}))
"""


def test_input_errors_fail_at_once_and_outages_are_tried_again(
    in_airflow: Callable[..., str],
) -> None:
    decided = json.loads(in_airflow(DECIDE).splitlines()[-1])

    wrong = {name: ["fail", None] for name in ("InvalidInputError", "GateFailedError")}
    always = {**wrong, "NotFoundError": ["fail", None]}
    outages = {"StoreError": ["default", None], "OSError": ["default", None]}
    assert decided["steps"] == {**always, "ConflictError": ["retry", 5.0], **outages}
    assert decided["opening"] == {**always, "ConflictError": ["fail", None], **outages}
