"""A place that would lose updates is refused, by the name of what it does not keep."""

from __future__ import annotations

from pathlib import Path

import pytest
from sample_tables import asset_ids, commit_assets
from small_s3_server import Fault, running

from mir_ops.errors import StoreError
from mir_ops.store import Store
from mir_ops.store.features import read_features, record_probe
from mir_ops.store.local import LocalObjects
from mir_ops.store.objects import MemoryObjects, ObjectStore, OutcomeUnknownError, Versioned
from mir_ops.store.probes import Probe, probe
from mir_ops.store.s3 import S3Objects

WRONG: list[tuple[Fault, str]] = [
    ("ignores if-none-match", "create-taken"),
    ("ignores if-match", "swap-stale"),
    ("answers 501", "create-taken"),
    ("reads are stale", "read-after-write"),
    ("remembers absence", "read-after-write"),
    ("several creators win", "create-race"),
    ("swaps race", "swap-race"),
    ("deleted stays", "create-after-delete"),
    ("deleted cannot be created again", "create-after-delete"),
]


def outcomes(found: Probe) -> dict[str, str]:
    return {finding.name: finding.outcome for finding in found.findings}


@pytest.mark.parametrize(("fault", "broken"), WRONG)
def test_server_that_is_wrong_is_refused_by_name(fault: Fault, broken: str) -> None:
    with running(fault) as server:
        with pytest.raises(StoreError) as caught:
            Store.open(server.url, create=True, access_key="a", secret_key="b")

        assert caught.value.code == "unsupported-server"
        assert f"`{broken}`" in str(caught.value)
        assert not any("format.pb" in key for key in server.bodies)


def test_right_server_is_accepted_and_left_clean() -> None:
    with running("none") as server:
        objects = S3Objects.open(server.url, access_key="a", secret_key="b")

        found = probe(objects, depth="full")

        assert set(outcomes(found).values()) == {"kept"}
        assert server.bodies == {}


@pytest.mark.parametrize(
    ("fault", "name"), [("clock is behind", "clock"), ("listing lags", "list-after-write")]
)
def test_what_a_store_can_live_with_is_a_warning(
    fault: Fault, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mir_ops.store.probes._LISTED_WITHIN", 0.1)
    with running(fault) as server:
        found = probe(S3Objects.open(server.url, access_key="a", secret_key="b"), depth="full")

    found.check()
    assert outcomes(found)[name] == "warning"
    if name == "clock":
        assert found.skew == pytest.approx(-3600, abs=5)


def test_all_places_of_the_suite_keep_everything(objects: ObjectStore) -> None:
    found = probe(objects, depth="full")

    assert set(outcomes(found).values()) == {"kept"}
    assert list(objects.list("meta/")) == []


def test_lost_answers_are_not_mistaken_for_lost_updates() -> None:
    class Forgetful(MemoryObjects):
        calls = 0

        def swap(self, key: str, body: bytes, expected: Versioned | None) -> None:
            super().swap(key, body, expected)
            self.calls += 1
            if self.calls % 3 == 0:
                raise OutcomeUnknownError("lost")

    found = probe(Forgetful(), depth="full")

    assert found.broken == ()


def test_creating_a_store_on_s3_records_the_races_it_won(s3_url: str) -> None:
    store = Store.open(s3_url, create=True, access_key="test", secret_key="test")

    recorded = read_features(store.objects).probe
    assert '"create-race": "kept"' in recorded
    assert '"depth": "quick"' in recorded


def test_new_probe_replaces_the_recorded_one_and_keeps_the_rest(tmp_path: Path) -> None:
    store = Store.open(tmp_path.as_uri(), create=True)
    before = read_features(store.objects)

    record_probe(store.objects, probe(store.objects, depth="full"))

    after = read_features(store.objects)
    assert '"depth": "full"' in after.probe
    assert (after.min_reader, after.min_writer) == (before.min_reader, before.min_writer)
    commit_assets(Store.on(LocalObjects(tmp_path)), "b", asset_ids(1))


def test_fields_of_later_versions_survive_a_change(local_store: Store) -> None:
    seen = local_store.objects.find_versioned("meta/features")
    assert seen is not None
    unknown = b"\xa2\x06\x03new"  # field 100, of a version that did not exist yet
    local_store.objects.swap("meta/features", seen.body + unknown, seen)

    record_probe(local_store.objects, probe(local_store.objects, depth="conditions"))

    assert unknown in (local_store.objects.find("meta/features") or b"")
