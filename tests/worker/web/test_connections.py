"""Connection limits: which connection is closed when there is no room, and the timeouts of each phase."""

from ipaddress import ip_network

import pytest

from octy_worker.web.connections import (
    COUNTERS,
    Connection,
    ConnectionCounter,
    ConnectionTable,
    Limits,
    Phase,
    client_network,
)


class ConnectionRig:
    """A table with a clock that stands still, and the names of what was closed, in order."""

    def __init__(self, **limits) -> None:
        self.now = 0.0
        self.counters = [0.0] * COUNTERS
        self.closed: list[str] = []
        self.table = ConnectionTable(Limits(**limits), lambda: self.now, self.counters)

    def admit(self, name: str, peer: str, phase: Phase = Phase.HEADER) -> Connection | None:
        connection = self.table.admit(peer)
        if connection is not None:
            connection.abort = lambda: self.closed.append(name)
            self.table.move(connection, phase)
        return connection


def test_address_at_its_limit_loses_its_own_oldest_waiting_connection():
    rig = ConnectionRig(connections=10, per_address=2)
    rig.admit("other", "192.0.2.1")
    for second, name in enumerate(("first", "second", "third")):
        rig.now = second
        rig.admit(name, "192.0.2.7")
    assert rig.closed == ["first"]
    assert (rig.counters[ConnectionCounter.OPEN], rig.counters[ConnectionCounter.EVICTED]) == (3, 1)


def test_full_connection_table_closes_the_longest_idle_connection():
    rig = ConnectionRig(connections=3, per_address=3)
    answered = rig.admit("answered", "192.0.2.1", Phase.RESPONSE)
    for number in range(2, 5):
        rig.admit(str(number), f"192.0.2.{number}", Phase.BODY)
    assert rig.closed == ["2"]
    rig.table.move(answered, Phase.IDLE)  # from now on it waits, too, but for a shorter time
    rig.admit("5", "192.0.2.5")
    assert rig.closed == ["2", "3"]


def test_connection_with_a_response_in_progress_is_never_closed_for_another():
    rig = ConnectionRig(connections=2, per_address=2)
    for name in ("a", "b"):
        rig.admit(name, "192.0.2.1", Phase.RESPONSE)
    assert rig.admit("same address", "192.0.2.1") is None
    assert rig.admit("another address", "192.0.2.2") is None
    assert (rig.closed, rig.counters[ConnectionCounter.REFUSED]) == ([], 2)


@pytest.mark.parametrize("exempt", [None, (ip_network("192.0.2.0/24"),)])
def test_exempt_proxies_have_no_limit_per_address(exempt):
    rig = ConnectionRig(connections=10, per_address=1, exempt=exempt)
    for name in "abcde":
        rig.admit(name, "192.0.2.9")
    assert (rig.closed, rig.counters[ConnectionCounter.OPEN]) == ([], 5)


def test_peer_in_no_exempt_network_has_its_limit_also_without_an_address():
    rig = ConnectionRig(connections=10, per_address=1, exempt=(ip_network("192.0.2.0/24"),))
    for peer in ("::ffff:192.0.2.7", "198.51.100.1", "2001:db8::1", "no address"):
        for number in range(2):
            rig.admit(f"{peer} {number}", peer)
    assert rig.closed == ["198.51.100.1 0", "2001:db8::1 0", "no address 0"]


@pytest.mark.parametrize("phase", list(Phase))
def test_each_connection_phase_has_its_timeout_however_often_it_is_reported(phase):
    rig = ConnectionRig()
    connection = rig.admit("late", "192.0.2.1", phase)
    rig.now = Limits().timeout(phase)
    rig.table.move(connection, phase)  # a byte that trickles in
    rig.table.expire()
    assert rig.closed == []
    rig.now += 0.001
    rig.table.expire()
    assert (rig.closed, rig.counters[ConnectionCounter.OPEN], rig.counters[ConnectionCounter.TIMED_OUT]) == (
        ["late"],
        0,
        1,
    )


def test_released_connection_leaves_no_entry():
    rig = ConnectionRig()
    connection = rig.admit("gone", "192.0.2.1")
    rig.table.release(connection)
    rig.table.release(connection)
    rig.table.move(connection, Phase.IDLE)
    assert not rig.table.evict_oldest()
    assert list(rig.table) == []


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:2", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_connection_limit_counts_by_ipv4_address_or_ipv6_network(peer, network):
    assert client_network(peer) == network
