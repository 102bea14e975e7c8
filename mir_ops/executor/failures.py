"""How a failed executor is reported: with its own code and the last lines of its log."""

from __future__ import annotations

from typing import Final

from mir_ops.errors import InvalidInputError, StoreError

# The codes that images of this contract use, and what a person can do about each.
_HINTS: Final = {
    300001: "Fix the executor settings of the project",
    300002: "Check the annotations and images that went in",
    300003: "The executor cannot read one of the image formats: use another executor",
    300004: "The model does not fit this executor: train a new one, or use its own executor",
    300005: "The executor does not do this type of task",
    300101: "The image's CUDA does not fit this GPU: use another image",
    300102: "Give the job a GPU, or use an image that runs on the CPU",
    300103: "Lower the batch size or the image size, or give the job more memory",
    300201: "The loss became NaN: lower the learning rate",
    300301: "The image wants the network: declare it with `--network`, or use another image",
}


class ExecutorFailedError(StoreError):
    """The executor ended without a result. `executor_code` is the number it gave, if any."""

    code = "executor-failed"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        hint: str | None = None,
        executor_code: int | None = None,
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.executor_code = executor_code

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (str(self), self.code, self.hint, self.executor_code))


class ExecutorOutputError(InvalidInputError):
    """The executor ended well, but what it wrote breaks the contract."""

    code = "executor-output"


def hint_for(executor_code: int | None) -> str | None:
    """What to do about an executor's code."""
    return None if executor_code is None else _HINTS.get(executor_code)


def _rebuild(
    message: str, code: str, hint: str | None, executor_code: int | None
) -> ExecutorFailedError:
    return ExecutorFailedError(message, code=code, hint=hint, executor_code=executor_code)
