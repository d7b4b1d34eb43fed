"""IPv6 sources are counted by /64: a whole network makes no more rows than one address."""

from support.world import FakeRequest, World

from octy_middleware import Outcome


def test_requests_from_one_64_make_one_counter_row_and_one_source(world: World) -> None:
    keys = world.register()
    with world.authenticator(clock=lambda: 1_800_000_000.0) as authenticator:
        for number in range(70):
            request = FakeRequest(keys.basic("sk_wrong"), peer=f"2001:db8:1:2:{number:x}::{number:x}")
            assert authenticator.decide(request).outcome is Outcome.WRONG_SECRET
            authenticator.decide(FakeRequest(keys.basic(), peer=f"2001:db8:1:2::{number:x}"))
        authenticator.decide(FakeRequest(keys.basic("sk_wrong"), peer="2001:db8:1:3::1"))
    rows = world.rows("SELECT source, outcome, count FROM outcome_minute ORDER BY source, outcome")
    assert rows == [
        ("2001:db8:1:2::/64", "accepted", 70),
        ("2001:db8:1:2::/64", "wrong_secret", 70),
        ("2001:db8:1:3::/64", "wrong_secret", 1),
    ]
    assert world.rows("SELECT COUNT(*), COUNT(DISTINCT source) FROM attempt") == [(60, 2)]


def test_nat64_sources_are_counted_by_their_ipv4_address(world: World) -> None:
    keys = world.register()
    with world.authenticator(clock=lambda: 1_800_000_000.0) as authenticator:
        for peer in ("64:ff9b::808:808", "64:ff9b::808:404", "8.8.8.8"):
            authenticator.decide(FakeRequest(keys.basic("sk_wrong"), peer=peer))
    assert world.rows("SELECT source, count FROM outcome_minute ORDER BY source") == [("8.8.4.4", 1), ("8.8.8.8", 2)]
    networks = world.rows("SELECT network, length FROM streak WHERE network <> '' ORDER BY network")
    assert networks == [("8.8.4.0/24", 1), ("8.8.8.0/24", 2)]
