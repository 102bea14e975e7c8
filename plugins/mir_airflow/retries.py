"""Which errors are worth another try."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule
from airflow.sdk.definitions.retry_policy import RetryDecision

from mir_ops.errors import (
    ConflictError,
    InvalidInputError,
    MergeConflictError,
    NotFoundError,
    StoreError,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

STEP_TRIES: Final = 10  # more than an hour, from 30 seconds on
LABEL_TRIES: Final = 30  # of label tasks: four hours
_USUAL_TRIES: Final = 2
_LONGEST_DELAY: Final = timedelta(minutes=10)
_AWAY: Final = frozenset(
    {
        *("store-unavailable", "endpoint-unreachable", "commit-outcome-unknown"),
        *("catalog-unavailable", "engine-lost", "no-engine", "label-tool-away"),
        *("cluster-lost", "pod-lost", "pod-not-started", "pod-stays"),
        *("disk-full", "no-space"),  # somebody makes room
    }
)

_INPUT = [
    RetryRule(InvalidInputError, RetryAction.FAIL, reason="The input must change first"),
    RetryRule(NotFoundError, RetryAction.FAIL, reason="What was asked for does not exist"),
    RetryRule(MergeConflictError, RetryAction.FAIL, reason="Whose changes win is a choice"),
]

MIR_RETRIES = ExceptionRetryPolicy(
    rules=[
        *_INPUT,
        RetryRule(ConflictError, retry_delay=timedelta(seconds=5), reason="Somebody was first"),
    ]
)


class OutageRetries(ExceptionRetryPolicy):
    """
    Waits for a store, a catalog, an engine or a label tool that is away, and for a disk that is
    full, twice as long each time.

    Whatever else fails is tried as often as in other tasks. For tasks with ``tries`` retries.
    """

    tries = STEP_TRIES

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,
        max_tries: int,
        context: Context | None = None,
    ) -> RetryDecision:
        decision = super().evaluate(exception, try_number, max_tries, context)
        if decision.action is not RetryAction.DEFAULT:
            return decision
        tries = (context["task"].retries or 0) if context else self.tries
        failed = tries - (max_tries - try_number)  # since it was cleared last
        if not self.is_outage(exception):
            return decision if failed <= _USUAL_TRIES else RetryDecision.fail("It failed too often")
        first: timedelta = context["task"].retry_delay if context else timedelta(seconds=30)
        delay = min(first * 2 ** min(failed - 1, 10), _LONGEST_DELAY)
        return RetryDecision.retry(delay, "What is away is waited for")

    def is_outage(self, exception: BaseException) -> bool:
        """Whether waiting may help."""
        return isinstance(exception, StoreError) and exception.code in _AWAY


class LabelRetries(OutageRetries):
    """The same for longer, whatever a label tool says of itself."""

    tries = LABEL_TRIES

    def is_outage(self, exception: BaseException) -> bool:
        return isinstance(exception, StoreError)


STEP_RETRIES = OutageRetries(rules=MIR_RETRIES.rules)
LABEL_RETRIES = LabelRetries(rules=MIR_RETRIES.rules)

# Another open round will not close in five seconds: say so at once.
OPENING_RETRIES = OutageRetries(
    rules=[
        *_INPUT,
        RetryRule(ConflictError, RetryAction.FAIL, reason="Another round is open"),
    ]
)
