"""The Label Studio backend: a project for each request, images by short-lived addresses.

A request is found again by its key, which its project's description holds, and an image by its
asset id in the task's data: ids of the tool are not stable, and its titles not unique. Labels
come back as names and are looked up in the request: no class id is ever read from the tool.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mir_ops.errors import InvalidInputError, MirError, NotFoundError
from mir_ops.labeling.backend import (
    FindAddresses,
    LabelProgress,
    LabelRequest,
    LabelResult,
)
from mir_ops.labeling.studio_answers import (
    is_of_request,
    last_activity,
    read_answers,
    settled,
)
from mir_ops.labeling.studio_client import StudioClient, check_url
from mir_ops.labeling.studio_projects import (
    closing,
    describe_project,
    label_config,
    labels_of,
    mark_of,
    missing_labels,
    short_key,
)
from mir_ops.labeling.studio_tasks import describe_tasks

_TASK: Final = re.compile(r"([1-9][0-9]{0,17})-([0-9a-f]{12})")
_MARK: Final = re.compile(r"mir-ops request ([0-9a-f]{12})")
_BATCH: Final = 100  # tasks of one import
_RENEW_SECONDS: Final = 1800  # an address that ends sooner is replaced
_STATE: Final = (
    "id,data,annotations,was_cancelled,completed_by,created_at,updated_at,ground_truth,lead_time"
)
_ANSWERS: Final = f"{_STATE},result"
_EVENTS: Final = ["ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelStudioBackend:
    """One server. `token` is a personal access token, or a legacy token.

    `browser_url` is where people find it, if that is not where we do.
    """

    url: str
    token: str = field(repr=False)
    browser_url: str = ""

    @property
    def kind(self) -> str:
        return "label-studio"

    def create(self, request: LabelRequest) -> str:
        if request.find_addresses is None:
            raise InvalidInputError("Label Studio needs images at addresses", code="no-addresses")
        with self._client() as client:
            _check_annotators(client, request.annotators, self.browser_url or self.url)
            project = _find_project(client, request.key)
            if project is None:
                project = _make_project(client, request)
            _import_tasks(client, project, request, request.find_addresses)
            if request.model_id:
                client.patch(f"/api/projects/{project}/", {"model_version": request.model_id})
            if request.wake_url is not None:
                _ask_to_wake(client, project, request.wake_url)
        return f"{project}-{short_key(request.key)}"

    def progress(self, task_id: str) -> LabelProgress:
        with self._client() as client:
            project, _ = self._open(client, task_id)
            answers = settled(client.tasks(project, _STATE), task_id)
            people = _people(client) if answers else {}
        by: dict[str, int] = {}
        for answer in answers.values():
            if answer.annotation is not None:
                name = people.get(answer.annotator, "somebody")
                by[name] = by.get(name, 0) + 1
        return LabelProgress(
            total=len(answers),
            done=sum(answer.state == "done" for answer in answers.values()),
            skipped=sum(answer.state == "skipped" for answer in answers.values()),
            last_activity=last_activity(answers.values()),
            by=dict(sorted(by.items())),
            page=self._page(project),
        )

    def fetch(self, task_id: str, request: LabelRequest) -> LabelResult:
        with self._client() as client:
            project, found = self._open(client, task_id)
            answers = settled(client.tasks(project, _ANSWERS), task_id)
            people = _people(client)
        missing = missing_labels(found.get("parsed_label_config"), labels_of(request))
        if missing:
            names = ", ".join(f"`{name}`" for name in missing[:5])
            log.warning("The labels %s were removed from %s", names, self._page(project))
        return read_answers(answers, request, people, page=self._page(project))

    def renew_addresses(self, task_id: str, find_addresses: FindAddresses) -> int:
        """Replace the addresses that end soon; how many were."""
        soon = time.time() + _RENEW_SECONDS
        with self._client() as client:
            project, _ = self._open(client, task_id)
            tasks = [
                task
                for task in client.tasks(project, "id,data")
                if is_of_request(task, task_id) and not _lasts(task["data"], soon)
            ]
            if not tasks:
                return 0
            names = sorted({task["data"]["asset_id"] for task in tasks})
            found = find_addresses(names)
            for task in tasks:
                fresh = {
                    "image": found.urls[task["data"]["asset_id"]],
                    "image_until": int(found.until.timestamp()),
                }
                client.patch(f"/api/tasks/{task['id']}/", {"data": {**task["data"], **fresh}})
        return len(tasks)

    def close(self, task_id: str) -> None:
        """The project stays, for people to look at, and says that it is over; it calls nobody."""
        with self._client() as client:
            project, found = self._open(client, task_id)
            for hook in client.get("/api/webhooks/", project=project):
                client.delete(f"/api/webhooks/{int(hook['id'])}/")
            said = str(found.get("description") or "")
            if not said.endswith(" (closed)"):
                client.patch(f"/api/projects/{project}/", closing(found))

    def _client(self) -> StudioClient:
        return StudioClient(self.url, self.token)

    def _page(self, project: int) -> str:
        return f"{self.browser_url or self.url}/projects/{project}/data"

    def _open(self, client: StudioClient, task_id: str) -> tuple[int, dict[str, Any]]:
        """The project of a task, if it is still the one that was made for it."""
        match = _TASK.fullmatch(task_id)
        if match is not None:
            try:
                found = client.get_object(f"/api/projects/{match[1]}/")
            except NotFoundError:
                found = {}
            mark = _MARK.match(str(found.get("description") or ""))
            if mark is not None and mark[1] == match[2]:
                return int(match[1]), found
        raise NotFoundError(
            f"Label Studio at `{self.url}` has no label project `{task_id}` any more",
            code="no-such-label-task",
            hint="Labels that were fetched are kept. Clear `create_label_task` to ask again",
        )


def open_label_studio(options: Mapping[str, Any]) -> LabelStudioBackend:
    unknown = set(options) - {"url", "browser_url", "access_key", "secret_key"}
    token = str(options.get("secret_key") or "").removeprefix("Token ").strip()
    if unknown or not options.get("url") or not re.fullmatch(r"[\x21-\x7e]{1,4096}", token):
        raise InvalidInputError(
            "Label Studio takes `url`, `browser_url`, and a token as the connection's password",
            code="invalid-label-options",
            hint="The token is on the page Account & Settings of Label Studio",
        )
    pages = str(options.get("browser_url") or options["url"])
    return LabelStudioBackend(
        url=check_url(str(options["url"])), token=token, browser_url=check_url(pages)
    )


def _check_annotators(client: StudioClient, wanted: Sequence[str], url: str) -> None:
    if not wanted:
        return
    known = {name.lower() for name in _people(client).values()}
    unknown = [name for name in wanted if name.lower() not in known]
    if unknown:
        invite = client.get_object("/api/invite")
        link = f"{url}{invite.get('invite_url', '/user/signup')}"
        raise InvalidInputError(
            f"Label Studio knows no {', '.join(f'`{name}`' for name in unknown)}",
            code="unknown-annotator",
            hint=f"They sign up at {link}; then clear this task",
        )
    log.warning(
        "Label Studio's community edition cannot assign a project: %s are named in its "
        "instructions, and every member of the server can label",
        ", ".join(wanted),
    )


def _people(client: StudioClient) -> dict[int, str]:
    """E-mail addresses by user id."""
    found = client.get("/api/users/")
    return {
        user["id"]: str(user.get("email"))[:254]
        for user in (found if isinstance(found, list) else [])
        if isinstance(user, dict) and isinstance(user.get("id"), int)
    }


def _find_project(client: StudioClient, key: str) -> int | None:
    """The oldest project of a request; a title is no identity, what its description says is."""
    answer = client.get_object(
        "/api/projects/", title=short_key(key), include="id,title,description", page_size=100
    )
    found = [
        each["id"]
        for each in answer.get("results", [])
        if str(each.get("description") or "").split(" (")[0] == mark_of(key)
    ]
    return min(found, default=None)


def _make_project(client: StudioClient, request: LabelRequest) -> int:
    made: int = client.post("/api/projects/", describe_project(request))["id"]
    first = _find_project(client, request.key)
    if first is not None and first != made:  # another try of this request was faster
        client.delete(f"/api/projects/{made}/")
        return first
    parsed = client.get_object(f"/api/projects/{made}/").get("parsed_label_config")
    if missing := missing_labels(parsed, labels_of(request)):
        client.delete(f"/api/projects/{made}/")
        raise InvalidInputError(
            f"Label Studio took no label {', '.join(f'`{name}`' for name in missing[:5])}",
            code="label-config",
            hint=f"Its version may be another one than ours. It was sent {label_config(request)}",
        )
    return made


def _import_tasks(
    client: StudioClient, project: int, request: LabelRequest, find_addresses: FindAddresses
) -> None:
    """Import what is not there; an import whose answer was lost may have happened."""
    task_id = f"{project}-{short_key(request.key)}"
    there = [task for task in client.tasks(project, "id,data") if is_of_request(task, task_id)]
    known = {task["data"]["asset_id"] for task in there}
    names = [name for name in request.asset_ids if name not in known]
    for start in range(0, len(names), _BATCH):
        batch = names[start : start + _BATCH]
        tasks = describe_tasks(request, batch, find_addresses(batch))
        client.post(f"/api/projects/{project}/import", tasks)
    if names:
        _remove_doubles(client, project, task_id)


def _remove_doubles(client: StudioClient, project: int, task_id: str) -> None:
    """Two tries that imported at once leave an image two tasks: the unanswered one goes."""
    tasks = [task for task in client.tasks(project, _STATE) if is_of_request(task, task_id)]
    seen: set[str] = set()
    for task in sorted(tasks, key=lambda task: (not task.get("annotations"), task["id"])):
        name = task["data"]["asset_id"]
        if name in seen and not task.get("annotations"):
            client.delete(f"/api/tasks/{task['id']}/")
        seen.add(name)


def _lasts(data: Mapping[str, Any], until: float) -> bool:
    ends = data.get("image_until")
    return isinstance(ends, int) and ends > until


def _ask_to_wake(client: StudioClient, project: int, url: str) -> None:
    """Have the server call when something was labelled; asking it now and then works without."""
    hooks = client.get("/api/webhooks/", project=project)
    if any(hook.get("url") == url for hook in hooks):
        return
    body = {
        "url": url,
        "project": project,
        "send_payload": False,
        "send_for_all_actions": False,
        "actions": _EVENTS,
    }
    try:
        client.post("/api/webhooks/", body)
    except MirError as error:
        log.warning("Label Studio will not call back, so it is asked instead: %s", error)
