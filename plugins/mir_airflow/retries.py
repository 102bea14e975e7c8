"""Which errors are worth another try."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

from mir_ops.errors import ConflictError, InvalidInputError, NotFoundError

_INPUT = [
    RetryRule(InvalidInputError, RetryAction.FAIL, reason="The input must change first"),
    RetryRule(NotFoundError, RetryAction.FAIL, reason="What was asked for does not exist"),
]

MIR_RETRIES = ExceptionRetryPolicy(
    rules=[
        *_INPUT,
        RetryRule(ConflictError, retry_delay=timedelta(seconds=5), reason="Somebody was first"),
    ]
)

# Another open round will not close in five seconds: say so at once.
OPENING_RETRIES = ExceptionRetryPolicy(
    rules=[
        *_INPUT,
        RetryRule(ConflictError, RetryAction.FAIL, reason="Another round is open"),
    ]
)
