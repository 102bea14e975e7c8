"""People at a real Label Studio: they sign up, label, skip and change their minds, by its API."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pyarrow as pa

from mir_ops.demo.label_studio import LocalLabelStudio
from mir_ops.labeling import ImageAddresses, LabelRequest
from mir_ops.labeling.label_studio import LabelStudioBackend, open_label_studio
from mir_ops.labeling.studio_client import StudioClient

if TYPE_CHECKING:
    from playwright import sync_api


def addresses(names: Any) -> ImageAddresses:
    ends = datetime.now(UTC) + timedelta(hours=1)
    return ImageAddresses(urls={name: f"http://127.0.0.1:9/{name}" for name in names}, until=ends)


@dataclass(frozen=True, kw_only=True)
class People:
    """Who labels at a server, as the account that its install made."""

    studio: LocalLabelStudio
    client: StudioClient = field(repr=False)

    @property
    def backend(self) -> LabelStudioBackend:
        return self.backend_with(self.studio.login["token"])

    def backend_with(self, token: str, url: str | None = None) -> LabelStudioBackend:
        return open_label_studio({"url": url or self.studio.url, "secret_key": token})

    def project(self, task_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/api/projects/{task_id.split('-')[0]}/")
        return found

    def tasks(self, task_id: str) -> dict[str, dict[str, Any]]:
        """The task of each image, by asset id."""
        include = "id,data,annotations,predictions,result,updated_at,was_cancelled"
        found = self.client.tasks(int(task_id.split("-")[0]), include)
        return {task["data"]["asset_id"]: task for task in found}

    def submit(self, task_id: str, name: str, *regions: Any, **more: Any) -> int:
        task = self.tasks(task_id)[name]["id"]
        body = {"result": list(regions), "lead_time": 4.5, **more}
        made: int = self.client.post(f"/api/tasks/{task}/annotations/", body)["id"]
        return made

    def skip(self, task_id: str, name: str) -> None:
        self.submit(task_id, name, was_cancelled=True)

    def sign_up(self, link: str, email: str) -> None:
        with httpx.Client(base_url=self.studio.url) as browser:
            page = browser.get(link.removeprefix(self.studio.url))
            found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
            assert found is not None
            form = {
                "csrfmiddlewaretoken": found[1],
                "email": email,
                "password": secrets.token_hex(8),
                "allow_newsletters": "false",
                "how_find_us": "",
                "elaborate": "",
            }
            answer = browser.post(link.removeprefix(self.studio.url), data=form)
            assert answer.status_code == 302, answer.text[:500]


def box(label: str, x: float, y: float, w: float, h: float, **more: Any) -> dict[str, Any]:
    """A region as Label Studio's page sends it, in percent of a 40 x 30 image."""
    value = {"x": x, "y": y, "width": w, "height": h, "rotation": 0, "rectanglelabels": [label]}
    return {
        "id": secrets.token_hex(5), "type": "rectanglelabels", "from_name": "rectanglelabels",
        "to_name": "image", "original_width": 40, "original_height": 30, "image_rotation": 0,
        "origin": "manual", "value": value, **more,
    }  # fmt: skip


def log_in(page: sync_api.Page, studio: LocalLabelStudio) -> None:
    """In a browser."""
    page.goto(f"{studio.url}/user/login/")
    page.fill("input[name=email]", studio.login["user"])
    page.fill("input[name=password]", studio.login["password"])
    page.click("button[type=submit]")
    page.wait_for_url(lambda url: "/user/login" not in url)


def new_request(template: LabelRequest, **changes: Any) -> LabelRequest:
    """The same, of a key of its own."""
    from dataclasses import replace

    fresh: dict[str, Any] = {"key": secrets.token_hex(32), "find_addresses": addresses, **changes}
    return replace(template, **fresh)


def rows(table: pa.Table, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in columns) for row in table.to_pylist()]


def dumped(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
