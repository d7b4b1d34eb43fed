"""Settings and keychains: by keyword or variable, frozen, validated, and without secrets in errors."""

import pickle

import pytest
from pydantic import ValidationError

from octy_middleware import ConfigurationError, Settings
from octy_middleware.keys.keychain import Keychain
from octy_middleware.settings import Options
from octy_worker.settings import WorkerSettings
from octy_workflows.retry import MAIL_RETRY

KEY = "11" * 32
PEPPERS = {"OCTY_PEPPERS": f"k1:{KEY}"}
WORKER = {**PEPPERS, "OCTY_SEALING_KEYS": f"s1:{KEY}", "OCTY_LINK_KEYS": f"l1:{KEY}"}


def test_defaults_are_the_policy() -> None:
    settings = Settings.from_environment(PEPPERS)
    assert settings.threshold == 20
    assert settings.header_limit == 1024
    assert settings.require_https
    assert settings.schemeless
    assert settings.trusted_proxies == ()


@pytest.mark.parametrize(("processors", "expected"), [(None, 1), (1, 1), (2, 1), (3, 1), (4, 2), (64, 2)])
def test_slow_hashes_leave_half_of_the_processors_to_requests(
    monkeypatch: pytest.MonkeyPatch, processors: int | None, expected: int
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: processors)
    assert Settings.from_environment(PEPPERS).max_slow_hashes == expected


def test_keyword_arguments_set_the_settings() -> None:
    assert list(Options.__annotations__) == list(Settings.model_fields)


def test_variables_are_read_and_keywords_override_them() -> None:
    environ = {**PEPPERS, "OCTY_THRESHOLD": "5", "OCTY_EXEMPT_PATHS": "/a, /b*", "OCTY_REALM": "From variable"}
    settings = Settings.from_environment(environ, realm="From keyword")
    assert (settings.threshold, settings.exempt_paths, settings.realm) == (5, ("/a", "/b*"), "From keyword")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "OCTY_PEPPERS is not set.*octy secrets"),
        ({**PEPPERS, "OCTY_THRESHOLD": "many"}, "OCTY_THRESHOLD.*valid integer"),
        ({**PEPPERS, "OCTY_THRESHOLD": "1"}, "OCTY_THRESHOLD.*greater than or equal to 2"),
        ({**PEPPERS, "OCTY_FEED_INTERVAL": "10"}, "OCTY_FEED_INTERVAL.*less than or equal to 0.5"),
        ({"OCTY_PEPPERS": "k1:beef"}, "OCTY_PEPPERS: entry 1 is not"),
        ({"OCTY_PEPPERS": f"k1:{KEY},k1:{KEY}"}, "'k1' occurs twice"),
    ],
    ids=["no pepper", "no number", "too small", "too slow a feed", "short key", "double id"],
)
def test_invalid_setting_is_named_with_what_to_do(values: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Settings.from_environment(values)


def test_error_of_own_validator_has_no_pydantic_text() -> None:
    with pytest.raises(ConfigurationError) as caught:
        WorkerSettings.from_environment({**WORKER, "OCTY_PUBLIC_URL": "octy.example"})
    assert str(caught.value) == "public_url (OCTY_PUBLIC_URL): needs the form https://host[/path]"


@pytest.mark.parametrize("url", ["http://octy.example", "http://10.0.0.7:8025", "http://127.0.0.1.octy.example"])
def test_public_url_over_plain_http_is_rejected_except_on_this_machine(url: str) -> None:
    with pytest.raises(ConfigurationError, match="links and new secrets would travel in clear"):
        WorkerSettings.from_environment({**WORKER, "OCTY_PUBLIC_URL": url})
    assert WorkerSettings.from_environment({**WORKER, "OCTY_PUBLIC_URL": "http://localhost:8025/"})


def test_unknown_keyword_is_rejected() -> None:
    with pytest.raises(ConfigurationError, match="treshold"):
        Settings.from_environment(PEPPERS, treshold=5)


def test_settings_are_frozen_and_show_no_secret() -> None:
    settings = Settings.from_environment(PEPPERS)
    with pytest.raises(ValidationError, match="frozen"):
        settings.threshold = 3  # type: ignore[misc]
    assert KEY not in f"{settings!r}{settings!s}"


def test_invalid_secret_setting_is_not_shown() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_environment({"OCTY_PEPPERS": f"K1:{KEY}"})
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None


def test_worker_settings_read_lists_of_seconds_and_share_names_with_the_middleware() -> None:
    given = {"OCTY_INCIDENT_REMIND_AFTER": "60,120", "OCTY_THRESHOLD": "7"}
    settings = WorkerSettings.from_environment({**WORKER, **given})
    assert settings.incident_times.remind_after == (60.0, 120.0)
    assert settings.regeneration_times.overlap == 86_400.0
    assert settings.regeneration_times.warn_before == 21_600.0
    assert settings.threshold == 7
    assert KEY not in repr(settings)


@pytest.mark.parametrize(("value", "deliver"), [("", "link"), ("link", "link"), ("mail", "mail"), ("post", None)])
def test_delivery_method_is_link_by_default(value: str, deliver: str | None) -> None:
    environ = {**WORKER, "OCTY_DELIVER": value}
    if deliver is None:
        with pytest.raises(ConfigurationError, match="OCTY_DELIVER"):
            WorkerSettings.from_environment(environ)
    else:
        assert WorkerSettings.from_environment(environ).deliver == deliver


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "soon"])
@pytest.mark.parametrize("name", ["OCTY_REVEAL_LINK_TTL", "OCTY_OVERLAP", "OCTY_RESEND_AFTER", "OCTY_SMTP_TIMEOUT"])
def test_invalid_time_is_rejected(name: str, value: str) -> None:
    environ = {**WORKER, name: value}
    with pytest.raises(ConfigurationError, match=name):
        WorkerSettings.from_environment(environ)


def test_mail_timeout_must_be_shorter_than_its_activity() -> None:
    """Two addresses, each with twice the time-out; a try that is cut off goes on, and the next one sends it again."""
    [most] = [rule.le for rule in WorkerSettings.model_fields["smtp_timeout"].metadata if hasattr(rule, "le")]
    assert 2 * 2 * most <= MAIL_RETRY["start_to_close_timeout"].total_seconds()


def test_keychain_keeps_order_and_exports_what_it_parses() -> None:
    chain = Keychain.parse(f"old:{'00' * 32},new:{'ff' * 32}", name="X")
    assert chain.newest == ("new", b"\xff" * 32)
    assert list(chain) == ["old", "new"]
    assert Keychain.parse(chain.export(), name="X") == chain
    assert "ff" * 32 not in repr(chain)
    with pytest.raises(TypeError):
        pickle.dumps(chain)
    with pytest.raises(ConfigurationError):
        Keychain({})


@pytest.mark.parametrize("link", ["tcp://10.0.0.1:80", "udp://10.0.0.1:53", "tcp://[fd00::1]:80"])
def test_kubernetes_service_links_are_not_read_as_settings(link: str) -> None:
    """In each pod it sets these for services called `octy-pages` and `octy`."""
    links = {
        f"{service}_{ending}": value
        for service in ("OCTY_PAGES", "OCTY_METRICS", "OCTY_SMTP", "OCTY")
        for ending, value in {
            "PORT": link,
            "SERVICE_HOST": "10.0.0.1",
            "SERVICE_PORT": "80",
            "SERVICE_PORT_HTTP": "80",
            "PORT_80_TCP": link,
            "PORT_80_TCP_PROTO": "tcp",
            "PORT_80_TCP_PORT": "80",
            "PORT_80_TCP_ADDR": "10.0.0.1",
        }.items()
    }
    assert WorkerSettings.from_environment({**WORKER, **links}) == WorkerSettings.from_environment(WORKER)
    assert Settings.from_environment({**PEPPERS, **links}) == Settings.from_environment(PEPPERS)


@pytest.mark.parametrize("value", ["eighty", "http://10.0.0.1:80", "tcp://pages:80", "tcp://10.0.0.1", "70000"])
def test_invalid_port_is_rejected(value: str) -> None:
    with pytest.raises(ConfigurationError, match="OCTY_PAGES_PORT"):
        WorkerSettings.from_environment({**WORKER, "OCTY_PAGES_PORT": value})


def test_service_link_in_another_setting_is_rejected() -> None:
    with pytest.raises(ConfigurationError, match="OCTY_THRESHOLD"):
        Settings.from_environment({**PEPPERS, "OCTY_THRESHOLD": "tcp://10.0.0.1:80"})
