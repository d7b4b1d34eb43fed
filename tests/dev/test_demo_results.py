"""What a demo reads back from the database: the timeline of an incident, and the orders of staff."""

import time
from pathlib import Path

from support.cli_rig import open_incident
from support.relay_rig import change
from support.staff_rig import StaffKeys, StaffRig
from support.world import INSTALLATION, World

from octy_middleware.clock import uuid7
from octy_worker.access.orders import Order
from octy_worker.access.proofs import BreakGlass
from octy_worker.access.roles import Action
from octy_worker.dev.demo_oracle import Alert
from octy_worker.dev.demo_results import OpenedIncident, timeline
from octy_worker.dev.demo_staff import signed_orders
from octy_worker.domain.incidents import append_event


def test_timeline_shows_what_is_under_way(world: World) -> None:
    keys, incident_id = open_incident(world)
    change(world, "UPDATE incident SET request_id = '20', regeneration_id = ?", keys.regeneration_id)
    change(world, "UPDATE regeneration SET collected_at = NULL")
    with world.database.write_session() as session:
        for what, detail in (("failures_increased", {"failures": 40}), ("staff_informed", {})):
            append_event(session, incident_id, key=what, actor="system", what=what, detail=detail, now=time.time())
    texts = [entry.text for entry in timeline(world.database, ())]
    assert "20 wrong secrets in a row by row 20 (rule key): incident opened" in texts
    assert texts[-2:] == ["more attempts: 40 so far", "staff informed"]
    assert "the customer collects the new keys" not in texts


def test_order_without_a_signature_is_not_verified(world: World, tmp_path: Path) -> None:
    rig = StaffRig(world, StaffKeys.make(tmp_path), float(int(time.time())))
    receipts = rig.receipts()
    order = Order(
        uuid7(rig.now), INSTALLATION, Action.EXTEND, "i1", {"days": 7}, "the CA is down", "root", int(rig.now)
    )
    with world.database.write_session() as session:
        receipts.receive(session, order.to_bytes(), BreakGlass(), rig.now)
    opened = [OpenedIncident("i1", Alert("u", 20, 20, "key"))]
    [found] = signed_orders(world.database, opened, rig.keys.authority.public)
    assert (found.user, found.actor, found.order, found.verified) == ("u", "root", order.order_id, False)
