"""Searches and deliveries of new keys in both databases, where a command shows little of the query."""

import time

import pytest
from support.cli_rig import open_incident
from support.imports_rig import as_csv, imported, person
from support.relay_rig import change
from support.world import World

from octy_middleware.clock import uuid7
from octy_worker.errors import RefusedError
from octy_worker.reports.key_delivery import DeliveryStatus, pending_delivery
from octy_worker.reports.search import search


def test_request_id_that_looks_like_an_id_is_searched_among_requests_too(world: World) -> None:
    keys, _ = open_incident(world)
    request_id = uuid7(time.time())
    change(world, "UPDATE attempt SET request_id = ? WHERE id = (SELECT MAX(id) FROM attempt)", request_id)
    with world.database.read_session() as session:
        found = search(session, f"Request: {request_id.upper()}", limit=5)
    assert found.totals == (0, 0, 0, 1)
    assert (found.requests[0].request_id, found.requests[0].account) == (request_id, keys.reference)


def test_imported_customer_has_no_new_keys_to_send_again(world: World) -> None:
    imported(world, as_csv(person(1)))
    with world.database.read_session() as session, pytest.raises(RefusedError, match="none were ever ordered here"):
        pending_delivery(session, "c1", time.time())


def test_uncollected_keys_are_those_of_the_newest_mail_or_of_the_order_that_is_repeated(world: World) -> None:
    keys = world.register()
    with world.database.read_session() as session:
        repeated = pending_delivery(session, "acme", time.time(), ordered=keys.regeneration_id)
        with pytest.raises(RefusedError, match="the customer has collected the last ones"):
            pending_delivery(session, "acme", time.time())
    assert (repeated.delivery.status, repeated.incident_id) == (DeliveryStatus.COLLECTED, None)
    assert (repeated.address, repeated.next_address) == (
        world.rows("SELECT contact_email_address FROM account")[0][0],
        None,
    )
