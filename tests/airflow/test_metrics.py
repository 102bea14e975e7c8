"""Metrics of rounds, as tasks in Airflow send them: all that the docs say, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from mir_airflow.metrics import METRICS
from round_worlds import RoundWorld, make_world
from statsd_receiver import Receiver, Sent, open_receiver
from trials import Trials, Tried, open_trials

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
DAGS = ("active_learning_round.py",)
IMAGES = 6 + 4 + 15
KINDS = {"counter": "c", "gauge": "g", "timer": "ms"}


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with open_receiver() as opened:
        yield opened


@pytest.fixture(scope="module")
def measured_world(tmp_path_factory: pytest.TempPathFactory) -> RoundWorld:
    world = make_world(tmp_path_factory.mktemp("measured"))
    world.apply("street")
    world.apply("broken", config={"misbehave": "crash-silently"})
    return world


@pytest.fixture(scope="module")
def measured(measured_world: RoundWorld, receiver: Receiver) -> Iterator[Trials]:
    files = {name: (ROOT / "dags" / name).read_text() for name in DAGS}
    with open_trials(measured_world, files, env=receiver.env) as opened:
        yield opened


def by_hand(trials: Trials, project: str) -> Tried:
    return trials.run(DAGS[0], "active_learning_round", conf={"project": project})


@pytest.fixture(scope="module")
def closed(measured: Trials, receiver: Receiver) -> list[Sent]:
    """What a round sends that comes to its end."""
    run = by_hand(measured, "street")
    assert run.state == "success", measured.log.read_text()[-5000:]
    return receiver.sent("mir.")


def one(sent: list[Sent], name: str, **tags: str) -> Sent:
    (found,) = (each for each in sent if each.name == name and tags.items() <= each.tags.items())
    return found


def test_rounds_send_every_documented_metric_and_no_other(
    closed: list[Sent], measured: Trials, receiver: Receiver
) -> None:
    run = by_hand(measured, "broken")

    assert run.state == "failed"
    failed = receiver.sent("mir.rounds.failed")
    assert [(each.tags["project"], each.value) for each in failed] == [("broken", 1)]
    assert {each.name for each in closed} < {each.name for each in receiver.sent("mir.")}
    assert {(each.name, each.kind, tuple(each.tags)) for each in receiver.sent("mir.")} == {
        (each.name, KINDS[each.kind], each.tags) for each in METRICS
    }


def test_a_closed_round_counts_once_with_its_metric(closed: list[Sent]) -> None:
    assert one(closed, "mir.rounds.opened").tags == {"project": "street"}
    assert one(closed, "mir.rounds.closed").value == 1
    assert 0 <= one(closed, "mir.round.map50").value <= 1


def test_images_of_an_import_count_once(closed: list[Sent]) -> None:
    assert one(closed, "mir.import.images").value == IMAGES
    assert one(closed, "mir.import.seconds").value > 0


def test_each_step_that_commits_or_runs_an_executor_says_how_long(closed: list[Sent]) -> None:
    def steps(name: str) -> set[str]:
        return {each.tags["step"] for each in closed if each.name == name and each.value > 0}

    assert steps("mir.executor.seconds") == {"train", "evaluate", "mine"}
    assert steps("mir.commit.seconds") == {
        "merge_training", "evaluate", "mine", "import_labels", "merge_labels",
    }  # fmt: skip


def test_nobody_is_waited_for_once_a_round_has_its_labels(closed: list[Sent]) -> None:
    last = [
        each for each in closed if each.name in ("mir.labels.waiting", "mir.labels.age_seconds")
    ]
    assert {each.value for each in last[-2:]} == {0}


def test_the_same_data_imported_again_counts_no_images(
    closed: list[Sent], measured: Trials, receiver: Receiver
) -> None:
    before = len(receiver.sent("mir.import."))

    assert by_hand(measured, "street").state == "success"

    assert len(receiver.sent("mir.import.")) == before
    assert [each.value for each in receiver.sent("mir.rounds.closed")] == [1, 1]
    assert one(closed, "mir.rounds.closed")
