"""Settings from files, the database's schema, and fresh keys."""

import os
import re

import pytest
from support.cli_rig import Octy, octy_for
from support.world import World

from octy_middleware.db.schema_version import SCHEMA_VERSION
from octy_middleware.keys.keychain import Keychain
from octy_worker.cli.variables import read_env_file
from octy_worker.settings import KEY_SETTINGS


@pytest.fixture
def octy(world: World) -> Octy:
    return octy_for(world)


# Settings from a file


def test_env_file_overrides_the_environment_and_the_option_overrides_the_file(world, octy, tmp_path):
    file = tmp_path / "octy.env"
    file.write_text(
        "# a comment, then what `octy dev` and people write\n\n"
        f"OCTY_DATABASE_URL='{world.url}'\n"
        'OCTY_ACTOR="file"\n'
        "export PATH=/nowhere  # another program's\n"
        "OCTY_MAIL_FROM='Octy <security@octy.example>'\n"
        "OCTY_SMTP_PASSWORD=correct#horse\n"
    )
    found = read_env_file(file)
    assert found == {
        "OCTY_DATABASE_URL": world.url,
        "OCTY_ACTOR": "file",
        "OCTY_MAIL_FROM": "Octy <security@octy.example>",
        "OCTY_SMTP_PASSWORD": "correct#horse",
    }
    octy("--env-file", str(file), "accounts", "list", OCTY_DATABASE_URL="sqlite:////none/none.db").must()
    done = octy("--env-file", str(file), "--database", "sqlite:////none/none.db", "accounts", "list").must(2)
    assert "/none/none.db" in done.stderr


@pytest.mark.parametrize("line", ["OCTY_PEPPERS", "OCTY_PEPPERS=k1:abc def", "x y=1", "OCTY_PEPPERS='k1:abc", "=1"])
def test_invalid_env_file_line_is_named_without_its_content(octy, tmp_path, line):
    file = tmp_path / "octy.env"
    file.write_text(f"OCTY_ACTOR=ada\n{line}\n")
    done = octy("--env-file", str(file), "accounts", "list").must(2)
    assert f"{file}, line 2: this is not NAME=value" in done.stderr
    assert "abc" not in done.stderr


@pytest.mark.parametrize(("mode", "warned"), [(0o644, True), (0o640, False), (0o600, False)])
def test_env_file_readable_by_everybody_gives_a_warning(octy, tmp_path, mode, warned):
    file = tmp_path / "octy.env"
    file.write_text("OCTY_ACTOR=ada\n")
    file.chmod(mode)
    done = octy("--env-file", str(file), "accounts", "list").must()
    assert (f"can read the secrets in {file} → chmod 600" in done.stderr) is warned


def test_secrets_file_is_readable_by_its_owner_only_and_never_replaced(octy, tmp_path):
    file, before = tmp_path / "octy.env", os.umask(0)
    try:
        octy("secrets", "--out", str(file)).must()
    finally:
        os.umask(before)
    assert file.stat().st_mode & 0o777 == 0o600
    made = read_env_file(file)
    assert {"OCTY_PEPPERS", "OCTY_SEALING_KEYS", "OCTY_LINK_KEYS"} < set(made)
    assert "exists already" in octy("secrets", "--out", str(file)).must(2).stderr
    rotated = tmp_path / "new.env"
    octy("--env-file", str(file), "secrets", "--rotate", "--out", str(rotated)).must()
    assert read_env_file(rotated)["OCTY_PEPPERS"].startswith(made["OCTY_PEPPERS"] + ",")


def test_staff_commands_need_no_keys(octy):
    assert set(octy.variables) == {"OCTY_DATABASE_URL", "OCTY_ACTOR", "OCTY_STAFF_AUTH"}
    octy("accounts", "add", "--reference", "acme", "--email", "a@acme.example").must()
    for words in (("accounts", "list"), ("accounts", "show", "acme"), ("incidents", "list"), ("keys", "list")):
        octy(*words).must()


# Maintenance


def test_key_ids_of_two_installations_differ(octy):
    sets = [dict(line.split("=", 1) for line in octy("secrets").must().stdout.splitlines()) for _ in range(2)]
    ids = [text.partition(":")[0] for variables in sets for text in variables.values()]
    assert len(set(ids)) == 2 * len(KEY_SETTINGS)
    assert all(re.fullmatch("[0-9a-f]{8}", key_id) for key_id in ids)


def test_db_upgrade_creates_and_upgrades_a_database(tmp_path):
    octy = Octy({"OCTY_DATABASE_URL": f"sqlite:///{tmp_path / 'new.db'}"}, tmp_path)
    assert f"from schema none to {SCHEMA_VERSION}" in octy("db", "upgrade").must().stdout
    assert f"is already at schema {SCHEMA_VERSION}" in octy("db", "upgrade").must().stdout
    assert set(octy("db", "current", "--json").must().json) == {"url", "schema", "needed"}
    assert f"is at schema {SCHEMA_VERSION}; this release needs {SCHEMA_VERSION}." in octy("db", "current").must().stdout
    assert octy("db", "check").must().stdout == ""


def test_db_downgrade_asks_before_it_migrates(tmp_path):
    octy = Octy({"OCTY_DATABASE_URL": f"sqlite:///{tmp_path / 'new.db'}"}, tmp_path)
    octy("db", "upgrade").must()
    refused = octy("db", "downgrade", typed="no\n").must(1)
    assert f"from schema {SCHEMA_VERSION} to the previous schema" in refused.stdout
    assert "Newer data in its tables is lost. Continue? [y/N]" in refused.stderr
    assert octy("db", "current", "--json").must().json["schema"] == SCHEMA_VERSION
    done = octy("db", "downgrade", "base", typed="yes\n").must()
    assert f"to schema base.\nMigrated the database from schema {SCHEMA_VERSION} to none." in done.stdout
    octy("db", "upgrade").must()
    unasked = octy("db", "downgrade", "--yes").must()
    assert (unasked.stdout, unasked.stderr) == (f"Migrated the database from schema {SCHEMA_VERSION} to none.\n", "")


def test_secrets_command_prints_fresh_complete_secrets_and_rotates_by_adding(octy):
    first, second = octy("secrets").must().stdout, octy("secrets").must().stdout
    assert first != second
    assert len(set(re.findall(r"[0-9a-f]{64}", first))) == len(KEY_SETTINGS)
    variables = dict(line.split("=", 1) for line in first.splitlines())
    names = ("PEPPERS", "SEALING_KEYS", "LINK_KEYS", "WEBHOOK_KEYS", "TEMPORAL_KEYS", "STAFF_KEYS", "AUDIT_KEYS")
    assert list(variables) == [f"OCTY_{name}" for name in names]
    rotated = dict(line.split("=", 1) for line in octy("secrets", "--rotate", **variables).must().stdout.splitlines())
    for name, text in rotated.items():
        old, new = Keychain.parse(variables[name], name=name), Keychain.parse(text, name=name)
        assert list(new)[:-1] == list(old)
        assert all(new[key_id] == old[key_id] for key_id in old)
        assert new.newest[0] not in old
    plain = {**variables, "OCTY_TEMPORAL_KEYS": ""}
    assert (
        "OCTY_TEMPORAL_KEYS" not in octy("secrets", "--rotate", **plain).must().stdout
    )  # it would switch encryption on
    older = dict.fromkeys(variables, "k1:" + "ab" * 32)
    assert re.search(f"k1:{'ab' * 32},[0-9a-f]{{8}}:", octy("secrets", "--rotate", **older).must().stdout)
    bad = octy("secrets", "--rotate", **{**variables, "OCTY_PEPPERS": "k1:abcd"}).must(2)
    assert "abcd" not in bad.stderr
