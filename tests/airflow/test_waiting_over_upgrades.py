"""What Airflow's database holds of a task that waits for labels, later versions take up."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from airflow.sdk.module_loading import import_string

# As the first version wrote it: the trigger's name and parameters, and where the task goes on.
TRIGGER = "mir_airflow.triggers.labels.LabelsTrigger"
PARAMETERS: dict[str, Any] = {
    "round_id": 7,
    "deadline": "2026-02-01T00:00:00+00:00",
    "poll_seconds": 30.0,
    "mir_conn_id": "mir_default",
    "labels_conn_id": "mir_labels",
}
SENSOR, METHOD = "mir_airflow.sensors.labels.LabelsSensor", "execute_complete"


def test_a_trigger_of_the_first_version_is_made_again() -> None:
    made = import_string(TRIGGER)(**PARAMETERS)
    path, parameters = made.serialize()
    assert path == TRIGGER
    assert PARAMETERS.items() <= parameters.items()


@pytest.mark.parametrize(
    "event",
    [
        {"status": "done", "message": "4 of 4", "hint": None},
        {"status": "deadline", "message": "The time is over", "hint": None},
    ],
)
def test_its_sensor_goes_on_where_it_was_to(event: dict[str, Any]) -> None:
    sensor = import_string(SENSOR)
    given = inspect.signature(getattr(sensor, METHOD)).bind(None, context={}, event=event)
    assert given.arguments["event"] == event
