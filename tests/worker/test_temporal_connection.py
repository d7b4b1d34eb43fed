"""How Temporal is reached: which settings win, and what is refused before anything is sent."""

from pathlib import Path

import pytest

from octy_middleware.errors import ConfigurationError
from octy_worker.temporal_connection import TemporalConnection, TemporalSettings


def connection(**variables: str) -> TemporalConnection:
    return TemporalSettings.from_environment({"TEMPORAL_CONFIG_FILE": "/dev/null", **variables}).temporal_connection()


def refusal(**variables: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        connection(**variables)
    return str(caught.value)


CLEAR = "would be reached without TLS → set TEMPORAL_ADDRESS with TEMPORAL_TLS=true or TEMPORAL_API_KEY"


@pytest.mark.parametrize(
    ("variables", "address", "security"),
    [
        ({}, "127.0.0.1:7233", "without TLS"),
        ({"TEMPORAL_ADDRESS": "localhost:7233"}, "localhost:7233", "without TLS"),
        ({"OCTY_TEMPORAL_ADDRESS": "[::1]:7233"}, "[::1]:7233", "without TLS"),
        ({"TEMPORAL_ADDRESS": "t.example:7233", "TEMPORAL_TLS": "true"}, "t.example:7233", "TLS"),
        ({"TEMPORAL_ADDRESS": "t.example:7233", "TEMPORAL_API_KEY": "k"}, "t.example:7233", "TLS, API key"),
        # A server without TLS in place of what the variables say, for who has both in one environment.
        (
            {"OCTY_TEMPORAL_ADDRESS": "127.0.0.1:1", "TEMPORAL_ADDRESS": "t.example:7233", "TEMPORAL_API_KEY": "k"},
            "127.0.0.1:1",
            "without TLS",
        ),
    ],
)
def test_temporal_connection_is_read_from_settings(variables: dict[str, str], address: str, security: str) -> None:
    found = connection(**variables)
    assert (found.address, found.security, found.namespace) == (address, security, "default")


@pytest.mark.parametrize(
    "variables",
    [
        {"OCTY_TEMPORAL_ADDRESS": "temporal:7233"},
        {"OCTY_TEMPORAL_ADDRESS": "10.0.0.7:7233"},
        {"OCTY_TEMPORAL_ADDRESS": "t.example:7233", "TEMPORAL_TLS": "true"},  # which is not read then
        {"TEMPORAL_ADDRESS": "t.example:7233"},
        {"TEMPORAL_ADDRESS": "t.example:7233", "TEMPORAL_API_KEY": ""},
        {"TEMPORAL_ADDRESS": "t.example:7233", "TEMPORAL_API_KEY": "k", "TEMPORAL_TLS": "false"},
        {"TEMPORAL_ADDRESS": "127.0.0.1.t.example:7233"},
    ],
)
def test_plaintext_connection_to_another_machine_is_rejected_unless_allowed(variables: dict[str, str]) -> None:
    assert CLEAR in refusal(**variables)
    allowed = connection(OCTY_TEMPORAL_PLAINTEXT="allowed", **variables)
    assert allowed.leaves_in_clear


def test_plaintext_setting_accepts_only_the_word_allowed() -> None:
    with pytest.raises(ConfigurationError, match="temporal_plaintext"):
        TemporalSettings.from_environment({"OCTY_TEMPORAL_PLAINTEXT": "yes"})


@pytest.mark.parametrize("address", ["temporal", "http://127.0.0.1:7233", "127.0.0.1@t.example:7233", "a:b", ":7233"])
def test_temporal_address_that_is_not_host_and_port_is_rejected(address: str) -> None:
    assert "is not host:port" in refusal(TEMPORAL_ADDRESS=address)


def test_temporal_profile_fills_in_what_variables_do_not_set(tmp_path: Path) -> None:
    file = tmp_path / "temporal.toml"
    file.write_text('[profile.a]\naddress = "a.example:1"\nnamespace = "n"\napi_key = "k"\n')
    profile = {"TEMPORAL_CONFIG_FILE": str(file), "TEMPORAL_PROFILE": "a"}
    found = connection(**profile)
    assert (found.address, found.namespace, found.api_key, bool(found.tls)) == ("a.example:1", "n", "k", True)
    assert connection(**profile, TEMPORAL_NAMESPACE="m").namespace == "m"
    assert connection(**profile, OCTY_TEMPORAL_NAMESPACE="o", TEMPORAL_NAMESPACE="m").namespace == "o"


@pytest.mark.parametrize(
    ("variables", "namespace"),
    [
        ({"OCTY_TEMPORAL_NAMESPACE": "o", "OCTY_TEMPORAL_ADDRESS": "no address"}, "o"),
        ({"OCTY_TEMPORAL_ADDRESS": "no address", "TEMPORAL_NAMESPACE": "m"}, "default"),
        ({"TEMPORAL_NAMESPACE": "m", "TEMPORAL_CONFIG_FILE": "/dev/null"}, "m"),
    ],
)
def test_namespace_is_read_without_checking_the_connection(variables: dict[str, str], namespace: str) -> None:
    assert TemporalSettings.from_environment(variables).namespace() == namespace


def test_errors_of_a_temporal_profile_are_reported_without_its_content(tmp_path: Path) -> None:
    file = tmp_path / "temporal.toml"
    file.write_text('[profile.default]\napi_key = "canary\n')
    said = refusal(TEMPORAL_CONFIG_FILE=str(file))
    assert "line 2" in said
    assert "canary" not in said
    file.write_text('[profile.default]\napi_kay = "canary"\n')  # the SDK would go on without a key, and in clear
    assert "line 2" in refusal(TEMPORAL_CONFIG_FILE=str(file))
    assert "Profile 'x' not found" in refusal(TEMPORAL_PROFILE="x")
    assert "does not exist" in refusal(TEMPORAL_CONFIG_FILE=str(tmp_path / "missing.toml"))
    assert "missing.pem can't be read" in refusal(TEMPORAL_TLS_CLIENT_CERT_PATH=str(tmp_path / "missing.pem"))


def test_secrets_of_a_temporal_connection_are_in_no_text() -> None:
    settings = TemporalSettings.from_environment({"TEMPORAL_API_KEY": "canary", "TEMPORAL_CONFIG_FILE": "/dev/null"})
    assert "canary" not in f"{settings!r} {settings.temporal_connection()!r} {settings.model_dump()}"
