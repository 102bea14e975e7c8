"""Each step as a DAG of its own, triggered over Airflow's REST API, and from its form."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from browser_tab import CHROMIUM, open_tab
from playwright.sync_api import Page
from round_worlds import RoundWorld, write_images

from mir_ops.demo.local_airflow import LocalAirflow
from mir_ops.errors import InvalidInputError
from mir_ops.executor.models import choose_model, export_model
from mir_ops.formats.voc import VocFile, VocObject, write_voc
from mir_ops.rounds.airflow_api import DagRun

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]

DAGS = Path(__file__).resolve().parents[2] / "dags"
SECONDS = 300.0
JOB = {"executor": "sample", "memory_gib": 1}
LAST_TASK = {
    "dataset_import": "import_dataset",
    "dataset_prepare": "prepare_dataset",
    "dataset_label": "take_labels",
    "dataset_infer": "infer_dataset",
    "dataset_mine": "mine_dataset",
    "model_train": "train_model",
    "model_import": "import_model",
    "model_evaluate": "evaluate_model",
    "model_verify": "verify_model",
    "people_label": "take_labels",
}


class Steps:
    """Runs of steps in one Airflow, and what their last tasks left."""

    def __init__(self, airflow: LocalAirflow, world: RoundWorld) -> None:
        self.airflow, self.world = airflow, world
        self.runs: dict[str, DagRun] = {}
        self.model = ""  # what `model_train` trained

    def start(self, dag_id: str, **conf: Any) -> DagRun:
        return self.airflow.client.trigger(dag_id, conf=conf)

    def end(self, run: DagRun) -> Any:
        done = self.airflow.client.wait_for_run(run.dag_id, run.run_id, timeout=SECONDS)
        self.runs[run.dag_id] = done
        assert done.state == "success", self.failures(done)
        return self.airflow.client.xcom(run.dag_id, run.run_id, LAST_TASK[run.dag_id])

    def refused(self, run: DagRun) -> str:
        """The log of the task that failed, of a run that must fail."""
        done = self.airflow.client.wait_for_run(run.dag_id, run.run_id, timeout=SECONDS)
        assert done.state == "failed"
        return self.failures(done)

    def label_tasks(self) -> list[dict[str, Any]]:
        """As the console lists them."""
        with self.console() as http:
            found = http.get("projects/alley/labels").raise_for_status().json()["tasks"]
        return list(found)

    @contextmanager
    def console(self) -> Iterator[httpx.Client]:
        """The console's API, as the admin."""
        url, login = self.airflow.url, {"username": "admin"}
        login["password"] = self.airflow.passwords["admin"]
        with httpx.Client(trust_env=False, timeout=60) as http:
            token = http.post(f"{url}/auth/token", json=login).json()["access_token"]
            http.headers["Authorization"] = f"Bearer {token}"
            http.base_url = f"{url}/mir/api/v1/"
            yield http

    def failures(self, run: DagRun) -> str:
        client = self.airflow.client
        states = client.task_states(run.dag_id, run.run_id)
        failed = [task for task, state in states.items() if state == "failed"]
        return "\n".join(client.log(run.dag_id, run.run_id, task) for task in failed)


@pytest.fixture(scope="module")
def steps(airflow: LocalAirflow, world: RoundWorld) -> Steps:
    """All nine steps, one after the other where one needs what another left."""
    world.apply("alley", stop={"labelled_images": 1})
    text = (DAGS / "dataset_label.py").read_text().replace('"dataset_label"', '"people_label"')
    for operator in ("RequestLabelsOperator(", "LabelTaskSensor(", "TakeLabelsOperator("):
        text = text.replace(f"= {operator}", f'= {operator}labels_conn_id="people", ')
    (world.root / "dags" / "people_label.py").write_text(text)
    sharing = world.root / "sharing"
    for role in ("training", "validation", "pool"):
        shutil.copytree(world.root / "data" / role, sharing / "alley" / role)
    shutil.copy(sharing / "alley" / "pool" / "images" / "0200.png", sharing / "seen.png")
    for dag_id in LAST_TASK:
        airflow.wait_for_dag(dag_id)
    steps = Steps(airflow, world)
    _run_all(steps, sharing)
    return steps


def _run_all(steps: Steps, sharing: Path) -> None:
    for roles in (("training",), ("validation", "pool")):  # the first makes the project's asset
        imports = [
            steps.start(
                "dataset_import", path=f"alley/{role}", branch=f"alley/{role}",
                unknown_classes="add", annotations="none" if role == "pool" else "auto",
            )
            for role in roles
        ]  # fmt: skip
        for run in imports:
            steps.end(run)
    people = steps.start(
        "people_label", dataset="alley/pool", branch="alley/by-people", backend="folder",
        classes=["dog"], guide="Only dogs.", poll_seconds=1,
    )  # fmt: skip
    train = steps.start(
        "model_train", training=["alley/training"], validation=["alley/validation"],
        branch="alley/trained", classes=["cat"], **JOB,
    )  # fmt: skip
    prepare = steps.start(
        "dataset_prepare", datasets=["tr:alley/training", "va:alley/validation"],
        branch="alley/prepared", include_classes=["cat"], count=7, seed=3,
    )  # fmt: skip
    label = steps.start(
        "dataset_label", dataset="alley/pool", branch="alley/labelled", backend="oracle",
        classes=["dog", "cat"],
    )  # fmt: skip
    model = steps.model = steps.end(train)["model"]
    package = choose_model(steps.world.workspace, model).package
    export_model(steps.world.workspace, package, sharing / "model.tar.gz")
    looking = {"model": f"{model[:12]}@best", **JOB}
    rest = [
        steps.start(
            "dataset_mine", dataset="alley/pool", branch="alley/picked", count=4,
            exclude=["alley/training"], **looking,
        ),
        steps.start("dataset_infer", dataset="alley/pool", branch="alley/found", **looking),
        steps.start(
            "model_evaluate", dataset="alley/validation", branch="alley/measured", **looking
        ),
        steps.start("model_verify", picture="seen.png", **looking),
        steps.start("model_import", path="model.tar.gz", promote="production"),
    ]  # fmt: skip
    for run in (prepare, label, *rest):
        steps.end(run)
    _label(steps.world.people)
    steps.end(people)


def test_what_each_step_left_is_in_the_store(steps: Steps) -> None:
    store, catalog = steps.world.workspace.store, steps.world.workspace.catalog
    images = {
        name: store.branch(f"alley/{name}").tip().stats.assets
        for name in ("prepared", "picked", "found", "measured", "labelled", "by-people")
    }
    assert images == {
        "prepared": 7, "picked": 4, "found": 15, "measured": 4, "labelled": 15, "by-people": 15,
    }  # fmt: skip
    assert catalog.packages.promotion("production").model_id == steps.model
    assert choose_model(steps.world.workspace, "production").package.classes == ("cat",)
    picked = store.read("alley/picked")
    assert set(picked.layer("scores:hybrid")["rank"].to_pylist()) == {0, 1, 2, 3}
    by_people = store.read("alley/by-people").layer("ground_truth")
    dog = store.classes()["dog"]
    assert set(by_people["class_id"].to_pylist()) == {dog}
    assert all(
        store.branch(f"alley/{name}").tip().project == "alley" for name in ("found", "labelled")
    )


def test_versions_name_who_started_the_run(steps: Steps) -> None:
    store = steps.world.workspace.store
    made = ("training", "trained", "prepared", "picked", "found", "measured", "labelled")

    assert {store.resolve(f"alley/{name}").author for name in made} == {"admin"}


def test_people_are_waited_for_without_a_worker_and_read_their_guide(steps: Steps) -> None:
    run = steps.runs["people_label"]
    (folder,) = steps.world.people.glob("alley-by-people-*")

    said = steps.airflow.client.log(run.dag_id, run.run_id, "wait_for_labels")

    (by_oracle, by_people) = (
        each
        for branch in ("alley/labelled", "alley/by-people")
        for each in steps.label_tasks()
        if each["branch"] == branch
    )
    assert "0 of 15 images labelled" in said
    assert (by_people["done"], by_people["requested"], by_people["state"]) == (15, 15, "closed")
    assert (by_people["dag_id"], by_people["run_id"]) == (run.dag_id, run.run_id)
    assert (by_oracle["backend"], by_oracle["state"]) == ("oracle", "closed")
    assert "Only dogs." in (folder / "README.txt").read_text()
    assert (folder / "classes.txt").read_text() == "dog\n"


def test_a_model_looks_at_a_picture(steps: Steps) -> None:
    run, store = steps.runs["model_verify"], steps.world.workspace.store
    seen = steps.airflow.client.xcom(run.dag_id, run.run_id, "verify_model")

    assert {box["class_name"] for box in seen["boxes"]} == {"cat"}
    assert store.get_blob(seen["picture"]).startswith(b"\x89PNG")
    assert json.loads(store.get_blob(seen["result"]))["detection"]["seen.png"]["boxes"]


def test_a_picture_that_is_sent_to_the_console_is_looked_at(steps: Steps) -> None:
    sharing, looks = steps.world.root / "sharing", f"projects/alley/models/{steps.model}/looks"
    content = (sharing / "seen.png").read_bytes()
    with steps.console() as http:
        sent = http.post(looks, params={"executor": "sample"}, content=content)

        assert sent.status_code == 202, sent.text
        look = sent.json()["look"]
        deadline = time.monotonic() + SECONDS
        while (said := http.get(f"{looks}/{look}").json())["state"] == "waiting":
            assert time.monotonic() < deadline
            time.sleep(0.5)
        shown = http.get(f"{looks}/{look}/picture").content
    assert said["state"] == "done", said
    assert {box["class_name"] for box in said["boxes"]} == {"cat"}
    assert said["address"].endswith(f"/dags/model_verify/runs/console__{look}")
    assert shown == content
    assert [path.suffix for path in (sharing / "looked-at" / "alley").iterdir()] == [".png"]


def test_what_was_predicted_before_is_measured_without_an_executor(steps: Steps) -> None:
    run = steps.start("model_evaluate", dataset="alley/measured", branch="alley/again")

    again = steps.end(run)

    first = steps.world.workspace.store.branch("alley/measured").tip().operation.parameters
    assert again["coco"] == first["coco"]
    states = steps.airflow.client.task_states(run.dag_id, run.run_id)
    assert states == {"infer_dataset": "skipped", "evaluate_model": "success"}


def test_a_run_that_is_cleared_does_nothing_twice(steps: Steps) -> None:
    before, client = _everything(steps.world), steps.airflow.client
    cleared = [steps.runs[dag] for dag in ("dataset_mine", "model_train", "dataset_label")]

    for run in cleared:
        client.clear(run.dag_id, run.run_id, list(client.task_states(run.dag_id, run.run_id)))
    for run in cleared:
        steps.end(run)

    assert _everything(steps.world) == before


def test_links_lead_to_the_version(steps: Steps) -> None:
    run, client = steps.runs["dataset_mine"], steps.airflow.client
    tip = steps.world.workspace.store.branch("alley/picked").tip()

    links = client.links(run.dag_id, run.run_id, "mine_dataset")

    address = f"{steps.airflow.url}/mir/projects/alley/versions/{tip.id}"
    assert links == {"Dataset version": address}
    with httpx.Client(trust_env=False) as http:
        assert http.get(address).status_code == 401


def test_bad_input_names_the_parameter_and_leaves_nothing(steps: Steps) -> None:
    before = _everything(steps.world)
    asked = {
        "`path`: `/etc` is not in the sharing folder": steps.start(
            "dataset_import", path="/etc", branch="alley/x"
        ),
        "`path`: The source `{{ 7*7 }}` does not exist": steps.start(
            "model_import", path="{{ 7*7 }}"
        ),
        "`datasets`: No branch, tag or commit is called `alley/trainin`": steps.start(
            "dataset_prepare", datasets=["alley/trainin"], branch="alley/x"
        ),
        "`executor`: No executor is called `/bin/sh`": steps.start(
            "dataset_infer", dataset="alley/pool", model="production", branch="alley/x",
            executor="/bin/sh",
        ),
        "Unknown run parameter: `strateg`": steps.start(
            "dataset_mine", dataset="alley/pool", model="production", branch="alley/x", count=1,
            strateg="random", **JOB,
        ),
    }  # fmt: skip

    for said, run in asked.items():
        log = steps.refused(run)
        assert said in log
        assert "hint: " in log
    assert _everything(steps.world) == before


@pytest.mark.parametrize(
    ("dag_id", "conf", "said"),
    [
        ("dataset_mine", {"count": 0}, "count"),
        ("dataset_import", {"annotations": "excel"}, "annotations"),
        ("model_train", {"training": []}, "training"),
        ("dataset_label", {"shapes": ["circle"]}, "shapes"),
    ],
)
def test_a_value_that_the_form_refuses_never_starts(
    steps: Steps, dag_id: str, conf: dict[str, Any], said: str
) -> None:
    needed = {"dataset": "d", "model": "m", "branch": "b", "path": "p", "training": ["t"],
              "count": 1, "executor": "sample"}  # fmt: skip

    with pytest.raises(InvalidInputError, match=f"Invalid input for param {said}"):
        steps.start(dag_id, **{**needed, **conf})


@pytest.fixture(scope="module")
def signed_in(steps: Steps) -> Iterator[Page]:
    """A page of Airflow, for somebody who is signed in."""
    airflow = steps.airflow
    with open_tab() as tab:
        tab.page.set_default_timeout(120_000)
        tab.page.goto(airflow.url)
        tab.page.fill("input[name=username]", "admin")
        tab.page.fill("input[name=password]", airflow.passwords["admin"])
        tab.page.click("button[type=submit]")
        tab.page.wait_for_url(lambda url: "/auth/login" not in url)
        yield tab.page


NEEDED = {"branch": "alley/by-form", "executor": "sample"}
FORMS: dict[str, dict[str, str]] = {
    "dataset_import": {"path": "by-hand", "branch": "alley/by-hand"},
    "dataset_prepare": {"datasets": "nowhere", "branch": "alley/by-form"},
    "dataset_label": {"dataset": "nowhere", "branch": "alley/by-form"},
    "dataset_infer": {"dataset": "nowhere", "model": "none", **NEEDED},
    "dataset_mine": {"dataset": "nowhere", "model": "none", "count": "3", **NEEDED},
    "model_train": {"training": "nowhere", **NEEDED},
    "model_import": {"path": "nowhere.tar.gz"},
    "model_evaluate": {"dataset": "nowhere", "branch": "alley/by-form"},
    "model_verify": {"model": "none", "picture": "nowhere.png", "executor": "sample"},
}


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("dag_id", FORMS)
def test_a_person_fills_the_form(
    steps: Steps, world: RoundWorld, signed_in: Page, dag_id: str
) -> None:
    airflow, page, typed = steps.airflow, signed_in, FORMS[dag_id]
    before = {run.run_id for run in airflow.client.runs(dag_id, limit=100)}
    if dag_id == "dataset_import":
        write_images(world.root / "sharing" / "by-hand", 3, seed=950)
    known = page.request.get(f"{airflow.url}/api/v2/dags/{dag_id}/details").json()["params"]

    page.goto(f"{airflow.url}/dags/{dag_id}")
    page.get_by_role("button", name="Trigger").first.click()
    form = page.get_by_role("dialog").filter(has_text="Trigger Dag")
    form.locator("[id^=element_]").first.wait_for()
    shown = ""
    sections = {name: param["schema"].get("section") for name, param in known.items()}
    for section in dict.fromkeys(sections.values()):
        if section is not None:  # what is opened closes the one before
            form.get_by_role("button", name=section, exact=True).click()
        for name in (name for name in typed if sections[name] == section):
            form.locator(f"[id=element_{name}], [name=element_{name}]").first.fill(typed[name])
        shown += " ".join(form.inner_text().split())
    form.get_by_role("button", name="Trigger", exact=True).click()
    _until(lambda: len(_started(steps, dag_id, before)) == 1)
    (run,) = _started(steps, dag_id, before)

    for param in known.values():
        assert param["schema"]["title"] in shown
        assert param["schema"]["description_md"].partition("`")[0].strip() in shown
    assert run.conf.keys() == known.keys()
    given = {name: run.conf[name] for name in typed}
    assert {n: str(v[0] if isinstance(v, list) else v) for n, v in given.items()} == typed
    if dag_id == "dataset_import":
        steps.end(run)
        assert world.workspace.store.branch("alley/by-hand").tip().stats.assets == 3
    else:
        airflow.client.cancel(dag_id, run.run_id)


def _started(steps: Steps, dag_id: str, before: set[str]) -> list[DagRun]:
    runs = steps.airflow.client.runs(dag_id, limit=100)
    return [run for run in runs if run.run_id not in before]


def _until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def _everything(world: RoundWorld) -> dict[str, Any]:
    """All that steps leave: commits and models."""
    workspace = world.workspace
    return {
        "commits": {
            each.name: [commit.id for commit in each.log()] for each in workspace.store.branches()
        },
        "models": workspace.catalog.packages.list(),
        "promotions": workspace.catalog.packages.promotions(),
    }


def _label(people: Path) -> None:
    """What a person does: one dog on each image."""
    _until(lambda: bool(list(people.glob("alley-by-people-*"))))
    (task,) = people.glob("alley-by-people-*")
    for image in (task / "images").iterdir():
        box = VocObject(name="dog", box=(2.0, 2.0, 10.0, 10.0))
        file = VocFile(filename=image.name, size=(32, 32), objects=(box,))
        (task / "done" / f"{image.stem}.xml").write_bytes(write_voc(file))
