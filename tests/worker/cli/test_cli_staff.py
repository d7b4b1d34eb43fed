"""`octy staff`: the first admin, invitations, roles, the built-in authority and its certificates."""

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import text
from support.cli_rig import octy_for, open_incident
from support.kept_rows import once_for_each_kind
from support.ssh_keys import SoftToken, SshKey
from support.staff_cli import StaffCli, code_of, public_key_file
from support.warm_octy import WarmOcty
from support.world import World

from octy_middleware.keys.keychain import Keychain
from octy_worker.access import totp
from octy_worker.cli.staff_ca import parse_lifetime
from octy_worker.errors import UsageError


@dataclass(frozen=True)
class Kept:
    """What makes offices in fresh worlds. By commands, once for each kind of database: it takes longer than a test."""

    empty: Callable[[World], StaffCli]
    of_one: Callable[[World], StaffCli]
    of_two: Callable[[World], StaffCli]


@pytest.fixture(scope="module")
def kept_for(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Kept]:
    def fill(world: World) -> Kept:
        office = StaffCli.make(world)
        empty = office.kept()
        office.bootstrap()
        of_one = office.kept()
        office.add("ada", "responder")
        return Kept(empty, of_one, office.kept())

    return once_for_each_kind(tmp_path_factory.mktemp, fill)


@pytest.fixture
def office(world: World, kept_for: Callable[[str], Kept]) -> StaffCli:
    """An authority that is trusted, and no staff."""
    return kept_for(world.database_kind).empty(world)


@pytest.fixture
def begun(world: World, kept_for: Callable[[str], Kept]) -> StaffCli:
    """One admin, amy."""
    return kept_for(world.database_kind).of_one(world)


@pytest.fixture
def staffed(world: World, kept_for: Callable[[str], Kept]) -> StaffCli:
    """One admin, amy, and one responder, ada."""
    return kept_for(world.database_kind).of_two(world)


def sql(office: StaffCli, statement: str) -> None:
    with office.world.database.write() as connection:
        assert connection.execute(text(statement)).rowcount >= 1


def test_key_that_was_made_is_told_on_a_full_disk(office: StaffCli, warm: WarmOcty) -> None:
    with Path("/dev/full").open("wb") as full:
        done = warm.run(office.octy, "staff", "ca", "init", "--json", stdout=full)
    assert done.returncode == 1
    assert "A key of the certificate authority is made: OCTY_STAFF_CA_KEYS=" in done.stderr


def test_first_admin_enrolls_by_the_command_and_adds_a_colleague(office: StaffCli, warm: WarmOcty) -> None:
    token = office.octy("staff", "bootstrap", "amy", "--mail", "amy@acme.example", "--json").must().json["token"]
    office.certify("amy")
    done = office.enroll_by_command(warm, "amy", token)
    assert done["handle"] == "amy"
    assert f"secret={done['secret']}" in done["uri"]
    added = office.order("amy", "staff", "add", "ben", "--role", "key_admin").must().json
    assert (added["handle"], added["role"], added["link"]) == ("ben", "key_admin", "")
    assert office.listed() == {"amy": ("admin", "active"), "ben": ("key_admin", "invited")}
    rows = office.world.rows("SELECT granted_by, mail FROM staff ORDER BY handle")
    [(order_id, action)] = office.world.rows("SELECT id, action FROM staff_order")
    assert (rows, action) == ([("bootstrap", "amy@acme.example"), (order_id, "")], "staff.add")
    assert "entries are unchanged" in office.octy("audit", "verify").must().stdout


def test_token_is_not_in_the_database_and_leads_to_the_page_where_there_is_one(
    office: StaffCli, warm: WarmOcty
) -> None:
    office.octy.variables["OCTY_STAFF_URL"] = "https://staff.acme.example"
    made = office.octy("staff", "bootstrap", "amy", "--json").must().json
    assert made["link"] == f"https://staff.acme.example/staff/enroll/{made['token']}"
    for table in ("staff", "staff_enrolment", "audit_entry"):
        assert made["token"] not in str(office.world.rows(f"SELECT * FROM {table}"))
    office.certify("amy")
    assert office.enroll_by_command(warm, "amy", made["link"])["handle"] == "amy"


def test_bootstrap_happens_once(office: StaffCli) -> None:
    first = office.octy("staff", "bootstrap", "amy", "--json").must().json["token"]
    assert "has had its first admin: amy" in office.octy("staff", "bootstrap", "eve").must(3).stderr
    second = office.octy("staff", "bootstrap", "amy", "--json").must().json["token"]
    office.certify("amy")
    refused = office.octy("--sign", str(office.keys["amy"].path), "staff", "enroll", "--token", first).must(3)
    assert "this link is not valid" in refused.stderr
    office.enroll("amy", second)
    assert "has had its first admin" in office.octy("staff", "bootstrap", "amy").must(3).stderr
    for table in ("staff_enrolment", "staff_factor", "staff"):
        sql(office, f"DELETE FROM {table}")
    assert "none is left → an admin adds" in office.octy("staff", "bootstrap", "eve").must(3).stderr


def test_break_glass_on_the_host_makes_an_admin_where_none_is_left(begun: StaffCli) -> None:
    for table in ("staff_factor", "staff_enrolment", "staff"):
        sql(begun, f"DELETE FROM {table}")
    words = ("staff", "add", "zoe", "--role", "admin", "--reason", "all admins have left", "--json")
    assert "nothing proves who you are" in begun.octy(*words).must(2).stderr
    token = begun.octy("--break-glass", *words).must().json["token"]
    begun.enroll("zoe", token)
    assert begun.listed() == {"zoe": ("admin", "active")}


def test_text_that_is_no_principal_or_has_another_meaning_is_no_handle(office: StaffCli) -> None:
    for handle in ("", "Ada", "ada lovelace", "ada,root", "1ada", "a" * 65, "system", "customer", "ä"):
        assert "can't be a handle" in office.octy("staff", "bootstrap", handle).must(2).stderr, handle
    assert office.world.rows("SELECT COUNT(*) FROM staff") == [(0,)]


# Orders about staff


@pytest.mark.parametrize(
    ("by", "words", "error"),
    [
        ("ada", ("add", "eve", "--role", "admin"), "ada is responder, and this needs admin"),
        ("ada", ("role", "ada", "--role", "admin"), "ada is responder, and this needs admin"),
        ("amy", ("add", "ada", "--role", "viewer"), "ada is staff already: responder, active"),
        ("amy", ("role", "amy", "--role", "viewer"), "amy is the only active admin"),
        ("amy", ("disable", "amy"), "amy is the only active admin"),
        ("amy", ("reset", "amy"), "ask a second admin"),
    ],
)
def test_order_about_staff_that_breaks_a_rule_is_refused(
    staffed: StaffCli, by: str, words: tuple[str, ...], error: str
) -> None:
    before = staffed.world.rows("SELECT * FROM staff ORDER BY id")
    assert error in staffed.order(by, "staff", *words).must(3).stderr
    assert staffed.world.rows("SELECT * FROM staff ORDER BY id") == before
    [(refusals,)] = staffed.world.rows("SELECT COUNT(*) FROM audit_entry WHERE action = 'order.refused'")
    assert refusals == 1


def test_unknown_staff_member_is_named(staffed: StaffCli) -> None:
    for words in (("role", "eve", "--role", "viewer"), ("disable", "eve"), ("reset", "eve")):
        assert "there is no staff member eve" in staffed.order("amy", "staff", *words).must(2).stderr


@pytest.mark.parametrize("change", ["mail = 'thief@evil.example'", "role = 'admin'", "granted_by = 'bootstrap'"])
def test_person_whose_row_was_changed_by_sql_is_disabled_and_invited_again(staffed: StaffCli, change: str) -> None:
    sql(staffed, f"UPDATE staff SET {change} WHERE handle = 'ada'")
    words = ("staff", "add", "ada", "--role", "responder", "--mail", "ada@acme.example")
    assert "was not written by this system" in staffed.order("amy", *words).must(3).stderr
    assert staffed.order("amy", "staff", "disable", "ada").must().json["state"] == "disabled"
    assert staffed.world.rows("SELECT role, mail FROM staff WHERE handle = 'ada'") == [("viewer", "")]
    staffed.enroll("ada", staffed.order("amy", *words).must().json["token"])
    assert staffed.listed()["ada"] == ("responder", "active")
    assert staffed.world.rows("SELECT mail FROM staff WHERE handle = 'ada'") == [("ada@acme.example",)]


def test_role_changes_and_disabled_person_is_invited_again_without_old_factors(staffed: StaffCli) -> None:
    assert staffed.order("amy", "staff", "role", "ada", "--role", "key_admin").must().json["role"] == "key_admin"
    assert staffed.order("amy", "staff", "disable", "ada").must().json["state"] == "disabled"
    assert "ada is disabled" in staffed.order("ada", "staff", "add", "eve", "--role", "admin").must(3).stderr
    assert (
        "ada is disabled" in staffed.octy("staff", "certificate", "ada", "--key", _pub(staffed, "ada")).must(3).stderr
    )
    assert set(staffed.listed()) == {"amy", "ada"}
    token = staffed.order("amy", "staff", "add", "ada", "--role", "responder").must().json["token"]
    assert staffed.listed()["ada"] == ("responder", "invited")
    old_seed = staffed.seeds["ada"]
    staffed.enroll("ada", token)
    assert staffed.listed()["ada"] == ("responder", "active")
    staffed.seeds["ada"] = old_seed
    assert "code is wrong" in staffed.order("ada", "incidents", "decide", _incident(staffed), "dismiss").must(3).stderr


def test_second_admin_resets_the_factors_of_the_first(staffed: StaffCli) -> None:
    staffed.add("zoe", "admin")
    token = staffed.order("zoe", "staff", "reset", "amy").must().json["token"]
    assert staffed.listed()["amy"] == ("admin", "invited")
    assert "amy is invited" in staffed.order("amy", "staff", "disable", "ada").must(3).stderr
    staffed.enroll("amy", token)
    assert staffed.order("amy", "staff", "disable", "zoe").must().json["state"] == "disabled"


def test_order_that_needs_no_proof_grants_no_role(staffed: StaffCli) -> None:
    words = ("staff", "add", "eve", "--role", "admin", "--reason", "off")
    refused = staffed.octy(*words, OCTY_STAFF_AUTH="off").must(3)
    assert "no role can be granted by an order that needs no proof" in refused.stderr
    assert set(staffed.listed()) == {"amy", "ada"}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE staff SET role = 'admin' WHERE handle = 'ada'",
        "UPDATE staff SET role = 'admin', granted_by = 'bootstrap' WHERE handle = 'ada'",
    ],
)
def test_role_written_by_sql_grants_nothing_and_is_shown(staffed: StaffCli, statement: str) -> None:
    sql(staffed, statement)
    refused = staffed.order("ada", "staff", "add", "eve", "--role", "admin").must(3)
    assert "was not written by this system" in refused.stderr
    assert "not written by this system: grants nothing" in staffed.octy("staff", "list").must().stdout


# The built-in authority


def test_certificates_have_ascending_serials_and_openssh_reads_them(begun: StaffCli) -> None:
    key = begun.keys["amy"]
    for serial in (2, 3):
        begun.certify("amy", "--for", "90m")
        shown = subprocess.run(["ssh-keygen", "-L", "-f", key.certificate], check=True, capture_output=True, text=True)
        assert f"Serial: {serial}" in shown.stdout
        assert f'Key ID: "amy-{serial}"' in shown.stdout
        assert "Principals: \n                amy" in shown.stdout
    made = begun.octy("staff", "ca", "init", "--json").must().json["public_key"]
    assert made not in begun.octy.variables["OCTY_STAFF_CA_KEYS"]
    issued = begun.octy("staff", "certificate", "amy", "--key", _pub(begun, "amy"), "--json").must().json
    assert issued["serial"] == 4, "a further key goes on with the numbers"
    shown = begun.octy("staff", "ca", "show", "--json").must().json["keys"]
    assert [key["trusted"] for key in shown] == [True, False]
    events = begun.world.rows("SELECT subject FROM audit_entry WHERE action = 'certificate.issued'")
    assert events == [("amy",)] * 4


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (("eve",), 3, "there is no staff member eve"),
        (("amy", "--for", "17h"), 2, "longer than OCTY_STAFF_CERTIFICATE_LIFE, 16:00:00"),
        (("amy", "--for", "0h"), 2, "is not a time"),
        (("amy", "--for", "soon"), 2, "is not a time"),
        (("amy", "--out", "/no/such/folder/x"), 2, "can't be written"),
    ],
)
def test_certificate_that_may_not_be_issued_is_refused(
    begun: StaffCli, words: tuple[str, ...], code: int, error: str
) -> None:
    assert error in begun.octy("staff", "certificate", *words, "--key", _pub(begun, "amy")).must(code).stderr


def test_key_with_which_nobody_can_sign_orders_gets_no_certificate(begun: StaffCli, tmp_path: Path) -> None:
    keys = {
        "not an SSH public key": "nonsense",
        "certifies ed25519 and ecdsa": SshKey.make(tmp_path / "rsa", "-t", "rsa", "-b", "2048").public,
    }
    for error, line in keys.items():
        words = ("staff", "certificate", "amy", "--key", public_key_file(tmp_path, line))
        assert error in begun.octy(*words).must(2).stderr
    assert "can't be read" in begun.octy("staff", "certificate", "amy", "--key", f"{tmp_path}/none").must(2).stderr
    token = begun.octy("staff", "certificate", "amy", "--key", public_key_file(tmp_path, SoftToken().public_line)).must(
        2
    )
    assert "public key" in token.stderr or "certifies" in token.stderr


def test_certificate_of_the_longest_life_is_accepted(begun: StaffCli) -> None:
    begun.certify("amy", "--for", "16h")
    assert begun.order("amy", "staff", "add", "ben", "--role", "viewer").must().json["handle"] == "ben"


def test_revoked_certificate_orders_nothing(staffed: StaffCli) -> None:
    before = staffed.octy("staff", "revoke", "amy", "--json").must().json
    assert [each["serial"] for each in before["certificates"]] == [1]
    name, _, value = before["setting"].partition("=")
    staffed.octy.variables[name] = value
    assert "was revoked" in staffed.order("amy", "staff", "add", "eve", "--role", "viewer").must(3).stderr
    staffed.certify("amy")
    assert staffed.order("amy", "staff", "add", "eve", "--role", "viewer").must()
    again = staffed.octy("staff", "revoke", "amy", "--json").must().json
    assert again["setting"] == f"{name}=serial:1,serial:3"
    assert "has issued no certificate to eve" in staffed.octy("staff", "revoke", "eve").must().stdout


def test_authority_key_written_by_sql_signs_nothing(begun: StaffCli) -> None:
    sql(begun, "UPDATE staff_authority SET public_key = public_key || ' x'")
    refused = begun.octy("staff", "certificate", "amy", "--key", _pub(begun, "amy")).must(2)
    assert "there is no certificate authority" in refused.stderr


def test_authority_key_is_sealed_under_the_staff_keys(office: StaffCli) -> None:
    [(sealed,)] = office.world.rows("SELECT private_key FROM staff_authority")
    assert sealed.startswith("s1$")
    assert "PRIVATE" not in sealed


@pytest.mark.parametrize(
    ("text", "seconds"), [("8h", 28_800), ("90m", 5400), ("45s", 45), ("3600", 3600), ("1d", 86_400)]
)
def test_life_of_a_certificate_is_read(text: str, seconds: int) -> None:
    assert parse_lifetime(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-1h", "1.5h", "8 h", "8w", "0"])
def test_other_text_is_no_life(text: str) -> None:
    with pytest.raises(UsageError):
        parse_lifetime(text)


def _pub(office: StaffCli, handle: str) -> str:
    return f"{office.keys[handle].path}.pub"


def _incident(office: StaffCli) -> str:
    return open_incident(office.world, "acme")[1]


def test_staff_and_their_authority_are_shown_as_text(office: StaffCli, tmp_path: Path) -> None:
    assert (
        office.octy("staff", "list").must().stdout
        == "There is no staff. `octy staff bootstrap` makes the first admin.\n"
    )
    invited = office.octy("staff", "bootstrap", "amy", OCTY_STAFF_URL="https://staff.acme.example").must().stdout
    assert "amy is the first admin, and can't act before a second factor is registered.\n" in invited
    assert "Next: octy --server https://staff.acme.example --sign KEY staff enroll --token " in invited
    assert "Or in a browser, with a passkey: https://staff.acme.example/staff/enroll/" in invited
    assert re.search(r"Token, shown once, valid until \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ: ", invited)
    shown = office.octy("staff", "ca", "show").must().stdout
    assert office.octy.variables["OCTY_STAFF_CA_KEYS"] in shown
    key = SshKey.make(tmp_path / "amy")
    issued = office.octy("staff", "certificate", "amy", "--key", "-", typed=key.public).must().stdout
    assert "-cert-v01@openssh.com " in issued
    revoked = office.octy("staff", "revoke", "amy").must().stdout
    assert "amy-1" in revoked
    assert revoked.endswith("To revoke them, set this and restart the workers:\nOCTY_STAFF_REVOKED=serial:1\n")
    added = office.octy("--break-glass", "staff", "role", "amy", "--role", "viewer", "--reason", "left").must(3)
    assert "amy" in added.stderr


def test_one_time_password_is_registered_on_a_terminal(office: StaffCli, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = totp.new_seed(lambda count: b"5" * count)
    monkeypatch.setattr(totp, "new_seed", lambda _random_bytes: seed)
    token = office.octy("staff", "bootstrap", "amy", "--json").must().json["token"]
    key = office.certify("amy")
    words = ("--sign", str(key.path), "staff", "enroll", "--token", token)
    done = office.octy(*words, typed=f"{code_of(seed)[:3]} {code_of(seed)[3:]}\n").must()
    assert "Scan this with an authenticator app:\nFirst code of the app: " in done.stderr
    assert f"Or type the secret into it: {seed[:4]} {seed[4:8]} " in done.stdout
    assert done.stdout.endswith("amy has a one-time password as second factor, and can act.\n")
    assert office.listed() == {"amy": ("admin", "active")}


def test_authority_that_was_not_made_is_told(world: World) -> None:
    octy = octy_for(world, OCTY_STAFF_AUTH="on", OCTY_STAFF_KEYS=Keychain.generate("s1").export())
    assert octy("staff", "ca", "show").must().stdout == "There is no key. `octy staff ca init` makes one.\n"


def test_first_admin_whose_row_was_changed_by_sql_gets_no_new_link(office: StaffCli) -> None:
    office.octy("staff", "bootstrap", "amy").must()
    sql(office, "UPDATE staff SET mail = 'thief@evil.example'")
    assert "was not written by this system" in office.octy("staff", "bootstrap", "amy").must(3).stderr
