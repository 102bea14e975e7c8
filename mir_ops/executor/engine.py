"""The docker runner: an executor as a container that outlives the task which started it."""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from threading import Event
from typing import TYPE_CHECKING, Any, Final

from mir_ops.errors import InvalidInputError, StoreError
from mir_ops.executor.containers import docker_settings, with_gpus
from mir_ops.executor.gpus import chosen_gpus
from mir_ops.executor.jobs import Job
from mir_ops.executor.outputs import clear_outputs, settle_log
from mir_ops.executor.runs import OnLog, OnProgress, Outcome, Watch, watched
from mir_ops.executor.usage import keep_usage

if TYPE_CHECKING:
    from docker.errors import APIError

    from docker import APIClient

_FOLLOW_SECONDS: Final = 1.0
_LOST_SECONDS: Final = 60.0
_SIGNALLED: Final = (137, 143)  # SIGKILL, SIGTERM
_REMOVE_SECONDS: Final = 20.0
_REPLAYED_LINES: Final = 100
_LARGEST_LOG: Final = 64 << 20


def open_engine(url: str | None = None) -> APIClient:
    """A client of the Docker engine that `url` or the environment's DOCKER_HOST names."""
    try:
        from docker.utils import kwargs_from_env

        import docker
    except ImportError:
        raise InvalidInputError(
            "The docker runner needs the package `docker`",
            code="no-docker-package",
            hint="Run `pip install docker`, or use the process runner",
        ) from None
    try:
        keywords = kwargs_from_env() if url is None else {"base_url": url}
        client = docker.APIClient(version="auto", **keywords)
    except docker.errors.DockerException as error:
        raise StoreError(
            f"The Docker engine does not answer: {error}",
            code="no-engine",
            hint="Start it, or check DOCKER_HOST and your right to its socket",
        ) from None
    return client


class ContainerRun:
    """The container of an operation, found again by its name."""

    def __init__(self, job: Job, *, engine: APIClient) -> None:
        self._job = job
        self._engine = engine
        self._settings = docker_settings(job)
        self._last = b""  # the time stamp of the newest line of log that was passed on
        self._adopted = False

    @property
    def name(self) -> str:
        return self._settings.name

    def attach(self) -> bool:
        """A container that runs, or one that ended and of which nobody took the result.

        One that was stopped from outside, as all are when the engine or its host stops, goes.
        """
        found = self._inspect()
        if found is None:
            return False
        unusable = found["State"]["Status"] == "created" or _was_stopped(found["State"])
        if unusable or not self._is_ours(found):
            self.remove()
            return False
        self._adopted = True
        return True

    def _is_ours(self, found: Mapping[str, Any]) -> bool:
        """Whether it does this operation, and writes where we shall look."""
        targets = {mount["Target"]: mount["Source"] for mount in found["HostConfig"]["Mounts"]}
        return found["Config"]["Labels"].get("mir.operation") == self._job.op_id and targets.get(
            "/out"
        ) == str(self._job.outputs.resolve())

    def start(self) -> None:
        with chosen_gpus(self._job.limits, self._engine) as gpu_ids:
            if gpu_ids:
                self._settings = with_gpus(self._settings, gpu_ids)
            self._start()

    def _start(self) -> None:
        from docker.errors import ImageNotFound

        settings = self._settings
        limits: dict[str, Any] = settings.host_config()
        clear_outputs(self._job)
        try:
            created = self._engine.create_container(
                image=settings.image,
                name=settings.name,
                user=settings.user,
                labels=dict(settings.labels),
                host_config=self._engine.create_host_config(**limits),
            )
        except ImageNotFound:
            raise InvalidInputError(
                f"The engine has no image `{settings.image}`",
                code="no-such-image",
                hint=f"Build it, or run `docker pull {settings.image}` on the engine's host",
            ) from None
        with _explained(settings.image):
            self._engine.start(created["Id"])

    def follow(self, *, on_progress: OnProgress, on_log: OnLog) -> Outcome:
        """Follow to the end, over breaks of the connection to the engine.

        StoreError when the engine stays away: the container runs on, and the next try finds it.
        """
        from docker.errors import APIError

        deadline = self._started_at() + self._settings.time_seconds
        with watched(
            Watch(self._job, on_progress), is_late=lambda: time.time() > deadline, end=self._kill
        ) as reason:
            state = self._followed_to_the_end(on_log)
        if state is None:
            return Outcome(exit_code=None, reason="its container was removed")
        keep_usage(self._job, _seconds_between(state["StartedAt"], state["FinishedAt"]))
        if state.get("OOMKilled") and state["ExitCode"] != 0:
            limit = self._settings.memory_bytes / 2**30
            reason.append(f"it used more memory than its limit of {limit:.3g} GiB")
        try:
            self._keep_log()
        except APIError as error:
            if not _is_gone(error):
                raise
            return Outcome(exit_code=None, reason="its container was removed")
        return Outcome(exit_code=state["ExitCode"], reason=reason[0] if reason else None)

    def remove(self) -> None:
        deadline = time.monotonic() + _REMOVE_SECONDS
        while True:
            try:
                return self._remove()
            except _connection_errors() as error:
                if time.monotonic() > deadline:
                    raise StoreError(
                        f"Could not remove container `{self.name}`: {error}",
                        code="engine-lost",
                        hint=f"Run `docker rm -f {self.name}`, or leave it to the reaper",
                    ) from error
            time.sleep(0.5)

    def _remove(self) -> None:
        from docker.errors import APIError, NotFound

        with suppress(NotFound):
            try:
                self._engine.remove_container(self.name, force=True, v=True)
            except APIError as error:
                if error.status_code != 409:  # its removal is under way
                    raise

    def _inspect(self) -> dict[str, Any] | None:
        from docker.errors import NotFound

        try:
            found: dict[str, Any] = self._engine.inspect_container(self.name)
        except NotFound:
            return None
        return found

    def _followed_to_the_end(self, on_log: OnLog) -> dict[str, Any] | None:
        """Pass the log on until the container has ended; its state then."""
        lost_since = None
        while True:
            try:
                self._pass_on(on_log)
                found = self._inspect()
                if found is None:
                    return None
                state: dict[str, Any] = found["State"]
                if not state["Running"]:
                    self._pass_on(on_log)  # what came between
                    return state
                lost_since = None
            except _connection_errors() as error:
                lost_since = lost_since or time.monotonic()
                if time.monotonic() - lost_since > _LOST_SECONDS:
                    raise StoreError(
                        f"Lost the Docker engine while container `{self.name}` ran: {error}",
                        code="engine-lost",
                        hint="The container runs on: the next try takes it over",
                    ) from error
            time.sleep(0.5)

    def _pass_on(self, on_log: OnLog) -> None:
        from docker.errors import APIError

        since = _seconds(self._last) if self._last else None
        tail: Any = _REPLAYED_LINES if self._adopted and not self._last else "all"
        try:
            lines = self._engine.logs(
                self.name, stream=True, follow=True, timestamps=True, tail=tail, since=since
            )
            known = self._last
            for line in lines:
                stamp, _, text = line.partition(b" ")
                if stamp > known:  # the engine gives whole seconds again
                    known, self._last = b"", stamp
                    on_log(text)
        except APIError as error:
            if not _is_gone(error):
                raise

    def _kill(self, over: Event) -> None:
        from docker.errors import APIError

        while True:
            try:
                with suppress(APIError):  # it has ended by itself
                    self._engine.kill(self.name)
                return
            except _connection_errors():
                if over.wait(_FOLLOW_SECONDS):
                    return

    def _started_at(self) -> float:
        try:
            found = self._inspect()
        except _connection_errors():
            found = None
        return _seconds(found["State"]["StartedAt"].encode()) if found else time.time()

    def _keep_log(self) -> None:
        """The log belongs to what is collected; an image may have written it itself."""
        if settle_log(self._job):
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        descriptor = os.open(self._job.log_path, flags, 0o644)
        with os.fdopen(descriptor, "wb") as file:
            for line in self._engine.logs(self.name, stream=True):
                if file.tell() + len(line) > _LARGEST_LOG:
                    break
                file.write(line)


def _was_stopped(state: Mapping[str, Any]) -> bool:
    """Whether a signal ended it that the memory limit did not send."""
    by_signal = state["ExitCode"] in _SIGNALLED and not state["OOMKilled"]
    return by_signal and not state["Running"]


def _is_gone(error: APIError) -> bool:
    """Whether the engine has removed the container, or is about to: then it gives no log."""
    return error.status_code in (404, 409)


def _seconds(stamp: bytes) -> float:
    """The engine's time; its nanoseconds are more than Python reads."""
    return datetime.fromisoformat(stamp[:19].decode()).replace(tzinfo=UTC).timestamp()


def _seconds_between(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def _connection_errors() -> tuple[type[BaseException], ...]:
    """What docker-py lets through when the engine goes away. Errors of its API are not among it."""
    import requests
    import urllib3

    return (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,
        urllib3.exceptions.HTTPError,
        http.client.HTTPException,
        ConnectionError,
        TimeoutError,
    )


@contextmanager
def _explained(image: str) -> Iterator[None]:
    """Say what a refusal of the engine to start a container means."""
    from docker.errors import APIError

    try:
        yield
    except APIError as error:
        text = str(error.explanation or error)
        if "could not select device driver" in text or "nvidia" in text.lower():
            raise InvalidInputError(
                f"The engine cannot give a GPU to `{image}`: {text}",
                code="no-gpu",
                hint="Install the NVIDIA container toolkit on the engine's host; see `mir doctor`",
            ) from None
        raise StoreError(
            f"The engine could not start `{image}`: {text}", code="engine-refused"
        ) from None
