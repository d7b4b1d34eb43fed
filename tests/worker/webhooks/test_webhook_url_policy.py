"""The URL policy of webhooks: a table of URLs, and one of addresses."""

from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from octy_worker.webhooks.client import host_header, request_url
from octy_worker.webhooks.failures import BLOCKED, DESCRIPTIONS, FailureReason, PostError, PostResult
from octy_worker.webhooks.url_policy import check_url, is_public

TAKEN = [
    ("https://hooks.acme.example", ("hooks.acme.example", 443, "/")),
    ("https://hooks.acme.example/octy?team=7#part", ("hooks.acme.example", 443, "/octy?team=7")),
    ("https://HOOKS.acme.example:8443/", ("hooks.acme.example", 8443, "/")),
    ("https://hooks.acme.example:1024/", ("hooks.acme.example", 1024, "/")),
    ("https://xn--bcher-kva.example/", ("xn--bcher-kva.example", 443, "/")),
    ("https://[2606:4700::1111]/", ("2606:4700::1111", 443, "/")),
]


@pytest.mark.parametrize(("url", "place"), TAKEN)
def test_accepted_webhook_url_is_parsed(url: str, place: tuple) -> None:
    found = check_url(url, allow_http=False, allow_private=False)
    assert (found.host, found.port, found.target) == place
    assert "team" not in repr(found)


NOT_TAKEN = [
    ("", FailureReason.NO_URL),
    ("http://hooks.acme.example/", FailureReason.NOT_HTTPS),
    ("ftp://hooks.acme.example/", FailureReason.BAD_URL),
    ("file:///etc/passwd", FailureReason.BAD_URL),
    ("gopher://127.0.0.1:6379/_SET", FailureReason.BAD_URL),
    ("https://", FailureReason.BAD_URL),
    ("https:///path", FailureReason.BAD_URL),
    ("https://[::1", FailureReason.BAD_URL),
    ("https://hooks.acme.example:port/", FailureReason.BAD_URL),
    ("https://hooks.acme.example:70000/", FailureReason.BAD_URL),
    ("https://hooks.acme.example/a b", FailureReason.BAD_URL),
    ("https://hooks.acme.example/\r\nx-evil: 1", FailureReason.BAD_URL),
    ("https://bücher.example/", FailureReason.BAD_URL),
    ("https://ⓔxample.com/", FailureReason.BAD_URL),
    ("https://user:password@hooks.acme.example/", FailureReason.USER_IN_URL),
    ("https://user@hooks.acme.example/", FailureReason.USER_IN_URL),
    ("https://@hooks.acme.example/", FailureReason.USER_IN_URL),
    ("https://hooks.acme.example\\@127.0.0.1/", FailureReason.USER_IN_URL),
    ("https://hooks.acme.example:22/", FailureReason.BAD_PORT),
    ("https://hooks.acme.example:25/", FailureReason.BAD_PORT),
    ("https://hooks.acme.example:80/", FailureReason.BAD_PORT),
    ("https://hooks.acme.example:0/", FailureReason.BAD_PORT),
    ("https://hooks.acme.example:1023/", FailureReason.BAD_PORT),
]


@pytest.mark.parametrize(("url", "reason"), NOT_TAKEN)
def test_rejected_webhook_url_has_a_reason(url: str, reason: FailureReason) -> None:
    with pytest.raises(PostError) as refused:
        check_url(url, allow_http=False, allow_private=False)
    assert refused.value.reason is reason
    assert str(refused.value) == reason


@settings(max_examples=50)
@given(st.text() | st.text().map("https://{}".format) | st.text().map("https://a.example:{}/x".format))
def test_any_text_is_a_webhook_destination_or_is_rejected_with_a_reason(url: str) -> None:
    with suppress(PostError):
        place = check_url(url, allow_http=False, allow_private=False)
        assert place.scheme == "https"
        assert request_url(place).origin.port == place.port
        assert host_header(place).isascii()


def test_webhook_settings_allow_http_and_any_port() -> None:
    found = check_url("http://127.0.0.1:80/x", allow_http=True, allow_private=True)
    assert (found.scheme, found.host, found.port) == ("http", "127.0.0.1", 80)
    assert check_url("https://a.example:22/", allow_http=False, allow_private=True).port == 22


PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.215.14", "2606:4700:4700::1111", "2a00:1450:4001::1", "64:ff9b::0808:0808"]
SPECIAL = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",  # metadata of a cloud
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",  # wire server of a cloud
    "169.254.0.1",
    "169.254.169.254",  # metadata of most clouds
    "169.254.170.2",  # credentials of containers
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",  # metadata of a cloud
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::a00:1",
    "64:ff9b:1::808:808",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2001:20::1",
    "3fff::1",
    "5f00::1",
    "2002:7f00:1::",
    "fc00::1",
    "fd00:ec2::254",  # metadata of a cloud
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_address_is_accepted(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", SPECIAL)
def test_non_public_address_is_rejected(address: str) -> None:
    assert not is_public(address)


@given(st.ip_addresses())
def test_private_address_is_never_public(address: IPv4Address | IPv6Address) -> None:
    assert not is_public(str(address)) or address.is_global


@given(st.ip_addresses(v=4))
def test_other_spellings_of_a_private_address_are_rejected(address: IPv4Address) -> None:
    assert not is_public(f"::ffff:{address}")
    assert not is_public(f"::{address}")
    assert is_public(f"64:ff9b::{address}") == is_public(str(address))


def test_every_webhook_failure_has_a_description_without_the_url() -> None:
    assert set(DESCRIPTIONS) == set(FailureReason)
    assert set(BLOCKED) < set(FailureReason)
    for reason in FailureReason:
        told = PostResult(reason, 302)
        assert told.description.startswith(DESCRIPTIONS[reason])
        assert told.code.startswith(reason)
    assert PostResult(None, 204).description == "the server responded 204"
    assert PostResult(FailureReason.STATUS, 500).code == "status-500"
    assert PostResult(None, 204).code == ""
