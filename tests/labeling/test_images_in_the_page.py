"""Images of a store on a real S3 server, in Label Studio's own page, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import ceph_gateway
import pytest
from browser_tab import CHROMIUM, open_tab
from ceph_gateway import ACCESS_KEY, SECRET_KEY, Gateway
from label_requests import small_request
from PIL import Image
from playwright import sync_api
from studio_people import People, log_in, new_request

from mir_ops.dataset import import_dataset
from mir_ops.demo.label_studio import LocalLabelStudio
from mir_ops.labeling.addresses import find_addresses
from mir_ops.labeling.studio_client import StudioClient
from mir_ops.store import Store
from mir_ops.workspace import Workspace

pytestmark = [
    pytest.mark.long,
    pytest.mark.label_studio,
    pytest.mark.browser,
    pytest.mark.s3,
]
DRAWN = "[...document.querySelectorAll('.konvajs-content canvas')].some(e => e.width > 50)"
MISSED = "There was an issue loading URL"


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    if missing := ceph_gateway.missing_programs():
        pytest.skip(f"Ceph is not installed: no {', '.join(missing)}")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with ceph_gateway.running() as running:
        running.client().create_bucket(Bucket="labels")
        yield running


def test_a_bucket_needs_a_rule_for_the_origin_of_the_label_tool(
    tmp_path: Path, gateway: Gateway, studio: LocalLabelStudio
) -> None:
    url = f"s3://labels/store?endpoint_url={gateway.endpoint}"
    workspace = Workspace(
        store_url=url, catalog_url=f"sqlite:///{tmp_path}/catalog.db", work_dir=tmp_path,
        access_key=ACCESS_KEY, secret_key=SECRET_KEY,
    )  # fmt: skip
    store = Store.open(url, create=True, access_key=ACCESS_KEY, secret_key=SECRET_KEY)
    Image.effect_noise((320, 240), 50).convert("RGB").save(tmp_path / "one.png")
    import_dataset(store, tmp_path, "pool", op_id="pool")
    version = store.read("pool")
    request = new_request(
        small_request(),
        assets=version.assets(),
        predictions=small_request().predictions.slice(0, 0),
        find_addresses=find_addresses(workspace, "p", version),
    )
    with StudioClient(studio.url, studio.login["token"]) as client, open_tab() as tab:
        people = People(studio=studio, client=client)
        task_id = people.backend.create(request)
        (task,) = people.tasks(task_id).values()
        page = f"{studio.url}/projects/{task_id.split('-')[0]}/data?task={task['id']}"
        log_in(tab.page, studio)

        tab.page.goto(page)
        sync_api.expect(tab.page.get_by_text(MISSED).first).to_be_visible(timeout=60_000)
        gateway.allow("labels", studio.url)
        tab.page.goto(page)
        tab.page.wait_for_function(DRAWN, timeout=60_000)

        assert tab.page.get_by_text(MISSED).count() == 0
        shown = [asked for asked in tab.requests if asked.startswith(gateway.endpoint)]
        assert shown
        assert all("X-Amz-Signature=" in asked and SECRET_KEY not in asked for asked in shown)
