"""The environment file of a stack: shells and Python read the same values, and secrets are kept."""

import subprocess

import pytest

from octy_middleware.errors import ConfigurationError
from octy_middleware.keys.keychain import Keychain
from octy_worker.dev import environment

VARIABLES = {"OCTY_A": "it's plain", "OCTY_B": '"quoted" $HOME `x` \\ and # long', "OCTY_C": "", "OCTY_D": "a <b@c>"}


def test_shell_reads_the_same_values_from_the_environment_file(tmp_path):
    path = tmp_path / "env"
    environment.write(path, VARIABLES)
    assert environment.read(path) == VARIABLES
    script = f'set -a; . {path}; set +a; printf "%s\\n" "$OCTY_A" "$OCTY_B" "$OCTY_C" "$OCTY_D"'
    shell = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert shell.stdout.splitlines() == list(VARIABLES.values())


def test_environment_file_is_readable_by_its_owner_only(tmp_path):
    path = tmp_path / "env"
    for _ in range(2):
        environment.write(path, VARIABLES)
        assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["env"]


def test_secrets_are_generated_once_and_kept(tmp_path):
    path = tmp_path / "env"
    fresh = environment.load_or_create_secrets(path)
    assert sorted(fresh) == [
        "OCTY_AUDIT_KEYS", "OCTY_LINK_KEYS", "OCTY_PEPPERS", "OCTY_SEALING_KEYS", "OCTY_STAFF_KEYS",
        "OCTY_WEBHOOK_KEYS",
    ]  # fmt: skip
    assert len(set(fresh.values())) == 6
    assert all(Keychain.parse(value, name=name) for name, value in fresh.items())
    environment.write(path, {**fresh, "OCTY_X": "1"})
    assert environment.load_or_create_secrets(path) == fresh
    environment.write(path, {"OCTY_PEPPERS": fresh["OCTY_PEPPERS"]})
    again = environment.load_or_create_secrets(path)
    assert again["OCTY_PEPPERS"] == fresh["OCTY_PEPPERS"]
    assert again["OCTY_LINK_KEYS"] not in fresh.values()


def test_value_that_readers_would_parse_differently_is_rejected(tmp_path):
    with pytest.raises(ConfigurationError, match=r"OCTY_A: no notation of this value") as caught:
        environment.write(tmp_path / "env", {"OCTY_A": 'it\'s "both"'})
    assert "both" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("line", ["nonsense", "OCTY_A=1 2", "OCTY_A='open", "=1", "a-b=1", "export OCTY_A 1"])
def test_damaged_file_is_named_without_its_secrets(tmp_path, line):
    path = tmp_path / "env"
    path.write_text(f"# head\n\n{line} sk_secret\n")
    with pytest.raises(ConfigurationError, match=r"line 3: this is not NAME=value") as caught:
        environment.read(path)
    assert str(path) in str(caught.value)
    assert "sk_secret" not in str(caught.value)


def test_settings_of_the_calling_process_do_not_reach_the_stack(monkeypatch):
    monkeypatch.setenv("OCTY_DATABASE_URL", "postgresql://production")
    monkeypatch.setenv("OTHER", "stays")
    outer = environment.inherited_environment()
    assert "OCTY_DATABASE_URL" not in outer
    assert outer["OTHER"] == "stays"
