"""The entry of a worker's start: which settings changed, without a secret."""

import json
import os

import pytest
from support.world import World

from octy_middleware.keys.keychain import Keychain
from octy_worker.audit import repository
from octy_worker.audit.worker_start import record_start, settings_digests


def start(world: World, **options: object) -> dict[str, object]:
    settings = world.worker_settings(**options)
    with world.database.write_session() as session:
        entry = record_start(session, settings, host="host1", release="0.1.0", now=1.0, random_bytes=os.urandom)
    assert (entry.action, entry.actor, entry.subject) == ("worker.started", "system", "host1")
    assert entry.detail is not None
    return json.loads(entry.detail)


def test_start_names_the_settings_that_changed_since_the_last_one(world: World) -> None:
    first, same = start(world), start(world)
    changed = start(world, overlap=60.0, smtp_host="mail.example", smtp_password="s3cret")
    assert [each["changed"] for each in (first, same, changed)] == [None, [], ["overlap", "smtp_host"]]
    assert first["fingerprint"] == same["fingerprint"] != changed["fingerprint"]
    assert start(world)["changed"] == ["overlap", "smtp_host"]  # back again


def test_start_shows_a_rotation_of_keys(world: World) -> None:
    start(world)
    assert start(world, link_keys=Keychain({**world.peppers, "k2": b"2" * 32}))["changed"] == ["link_keys"]


@pytest.mark.parametrize("name", ["database_url", "smtp_password", "support_digest_to"])
def test_secrets_and_addresses_have_no_digest(world: World, name: str) -> None:
    assert name in type(world.worker_settings()).model_fields
    assert name not in settings_digests(world.worker_settings())


def test_start_after_an_erasure_compares_with_an_earlier_one(world: World) -> None:
    start(world)
    start(world, overlap=60.0)
    with world.database.write() as connection:
        connection.exec_driver_sql("UPDATE audit_entry SET detail = NULL, salt = NULL WHERE seq = 2")
    assert start(world)["changed"] == []
    with world.database.write_session() as session:
        repository.erase_details(session, "host1")
    assert start(world)["changed"] is None
