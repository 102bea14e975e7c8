"""An image that was built anew under its old tag is another input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from round_data import House, Run

from mir_ops.errors import NotFoundError
from mir_ops.executor import Job, run_job

pytestmark = pytest.mark.docker

TAG = "mir-test/rebuilt:1"
BEFORE_MODEL = ("open_round", "import_data", "merge_training")


@pytest.fixture
def build(engine: Any, sample_image: str) -> Iterator[Any]:
    """Builds the sample executor under the tag of the test, each time with another label."""

    def commit(label: str) -> str:
        container = engine.containers.create(sample_image)
        try:
            repository, _, tag = TAG.partition(":")
            changes = [f"LABEL mir.test={label}"]
            return str(container.commit(repository, tag, changes=changes).id)
        finally:
            container.remove(force=True)

    made = []
    yield lambda label: made.append(commit(label)) or made[-1]
    for image in made:
        engine.images.remove(image, force=True)


def test_a_cleared_training_runs_anew_when_its_image_was_rebuilt(
    tmp_path: Path, build: Any
) -> None:
    first = build("first")
    run = _round(House(tmp_path, {"executor": {"name": "rebuilt", "image": TAG}}))
    run.all((*BEFORE_MODEL, "train"))
    run.all(("train",))  # cleared
    assert run.jobs == ["train"]

    second = build("second")
    run.all(("train",))
    run.all(("train",))

    assert run.jobs == ["train", "train"]
    models = run.ws.catalog.models.list("digits")
    assert sorted(one.image["digest"] for one in models) == sorted([first, second])


def test_an_image_that_is_not_there_says_so(tmp_path: Path) -> None:
    run = _round(House(tmp_path, {"executor": {"name": "none", "image": "mir-test/none:1"}}))
    run.all(BEFORE_MODEL)

    with pytest.raises(NotFoundError, match="The Docker engine has no image `mir-test/none:1`"):
        run.all(("train",))


def _round(house: House) -> Run:
    def in_container(job: Job, **more: Any) -> None:
        run_job(job, runner="docker", **more)

    run = Run(house, "run", run_executor=in_container)
    run.ws = replace(run.ws, runner="docker")
    return run
