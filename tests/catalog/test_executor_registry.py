from __future__ import annotations

import pytest

from mir_ops.catalog import Catalog, ProjectSpec
from mir_ops.errors import ConflictError, NotFoundError

SETTINGS = {2: {"train": {"epochs": 3}}}
SAID = {"train-exit": ("passed", ""), "mine-result": ("failed", "no result.tsv")}


def add(catalog: Catalog, name: str, digest: str = "sha256:a") -> None:
    catalog.executors.add(
        name=name,
        image="registry.example/mine:1",
        folder=None,
        digest=digest,
        network=False,
        run_as_root=False,
        protocol="1.1.0",
        templates=SETTINGS,
    )


def test_what_the_kit_said_stays_with_the_executor(catalog: Catalog) -> None:
    add(catalog, "mine")
    assert catalog.executors.list()[0].checked is None

    kept = catalog.executors.keep_check("mine", digest="sha256:a", clauses=SAID)
    add(catalog, "mine", digest="sha256:b")

    found = catalog.executors.find("mine")
    assert found is not None
    assert found.checked == kept.checked
    assert found.checked is not None
    assert (found.checked.clauses, found.checked.failed) == (SAID, ("mine-result",))
    assert (found.digest, found.checked.digest) == ("sha256:b", "sha256:a")


def test_executor_that_a_project_uses_stays(catalog: Catalog, spec: ProjectSpec) -> None:
    add(catalog, "sample")
    project = catalog.projects.apply(spec)

    with pytest.raises(ConflictError) as caught:
        catalog.executors.remove("sample")
    assert str(caught.value) == "Executor `sample` is used by `digits`"

    catalog.projects.delete(project.name)
    catalog.executors.remove("sample")
    assert catalog.executors.list() == []


def test_unknown_executor_says_so(catalog: Catalog) -> None:
    for call in (
        lambda: catalog.executors.remove("mine"),
        lambda: catalog.executors.keep_check("mine", digest=None, clauses={}),
    ):
        with pytest.raises(NotFoundError) as caught:
            call()
        assert str(caught.value) == "No executor is registered as `mine`"
