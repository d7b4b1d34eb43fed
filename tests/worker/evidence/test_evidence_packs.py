"""Evidence packs: what is in them, that they verify with public keys alone, and that no change stays unseen.

Each change is made twice: as somebody does who has the pack only, and as somebody does who also has the installation's
audit key and signs the changed pack again. The second shows what each check is needed for beside the signature.
"""

import csv
import io
import json
import random
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlmodel import select
from support.evidence_rig import ADDRESS, EvidenceRig, Files, edit, kept_for, replaced, rig, staff_keys, unzip, zipped
from support.soft_authenticator import decode, encode
from support.ssh_keys import SoftToken, SshKey
from support.staff_rig import StaffKeys
from support.world import INSTALLATION, World

from octy_middleware.clock import uuid7
from octy_middleware.db.models import Account, StaffOrder
from octy_middleware.keys.keychain import Keychain
from octy_worker.access import proofs
from octy_worker.access.factor_rows import BOOTSTRAP
from octy_worker.access.members import Members, StaffState
from octy_worker.access.orders import Order
from octy_worker.access.proofs import BreakGlass, Evidence, Proof
from octy_worker.access.roles import Action, Role
from octy_worker.audit import repository
from octy_worker.audit.checkpoints import public_keys
from octy_worker.crypto.ssh_certificates import CertificateAuthorities, RefusedSignatureError, Revocations
from octy_worker.crypto.ssh_signatures import verify_signature
from octy_worker.domain.account_erasure import erase_account
from octy_worker.evidence import order_proofs, reader, verification
from octy_worker.evidence.grants import Grants
from octy_worker.evidence.layout import (
    ATTEMPTS,
    CHAIN,
    CHECKPOINTS,
    DETAILS,
    FILES,
    MAILS,
    MANIFEST,
    ORDERS,
    PAGE,
    SIGNATURE,
    TIMELINE,
)
from octy_worker.evidence.pack import order_record, write_pack
from octy_worker.evidence.reader import InvalidPackError
from octy_worker.evidence.verification import EvidenceReport, verify_pack

__all__ = ["kept_for", "rig", "staff_keys"]  # pytest finds them here


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, staff_keys: StaffKeys) -> tuple[EvidenceRig, bytes]:
    """One pack, for tests that change it."""
    rig = EvidenceRig(World(tmp_path_factory.mktemp("evidence")), staff_keys)
    return rig, rig.pack()


def verify(rig: EvidenceRig, data: bytes) -> EvidenceReport:
    return verify_pack(data, rig.public, rig.keys.authorities())


def broken(rig: EvidenceRig, data: bytes) -> tuple[str, str]:
    with pytest.raises(InvalidPackError) as error:
        verify(rig, data)
    return error.value.file, str(error.value)


def test_pack_verifies_with_public_keys_alone(rig: EvidenceRig) -> None:
    report = verify(rig, rig.pack())
    assert (report.manifest.incident, report.manifest.installation) == (rig.incident, INSTALLATION)
    assert report.log.proven_up_to == report.log.entries > report.shown > 5
    by_action = {order.action: order for order in report.orders}
    assert sorted(by_action) == ["incident.decide", "staff.add"]
    decided, added = by_action["incident.decide"], by_action["staff.add"]
    assert (decided.id, decided.actor, decided.subject) == (rig.orders["incident.decide"], "ada", rig.incident)
    assert (decided.proof, decided.serial) == ("certificate", 18)
    assert (added.actor, added.subject, added.serial) == ("amy", "ada", 20)


def test_pack_has_the_timeline_attempts_mails_and_a_page(rig: EvidenceRig) -> None:
    files = unzip(rig.pack())
    assert sorted(files) == sorted([*FILES, MANIFEST, SIGNATURE])
    timeline = json.loads(files[TIMELINE])
    assert timeline["incident"]["id"] == rig.incident
    assert "decided" in [event["what"] for event in timeline["timeline"]]
    rows = list(csv.DictReader(io.StringIO(files[ATTEMPTS].decode())))
    assert len(rows) == 20
    assert rows[0].items() >= {"outcome": "wrong_secret", "source": "203.0.113.9", "user_agent": "curl/8.5"}.items()
    assert rig.orders["incident.decide"] in files[PAGE].decode()
    assert json.loads(files[MAILS]) == timeline["mails"]


def test_pack_shows_what_granted_role_and_factor_and_no_other_details(rig: EvidenceRig) -> None:
    with rig.world.database.write_session() as session:
        repository.append(session, "keys.revoke", actor="kim", subject="pk_other", detail={"reason": "a secret story"})
    data = rig.pack()
    assert b"a secret story" not in b"".join(unzip(data).values())
    entries = [json.loads(line) for line in unzip(data)[CHAIN].splitlines()]
    shown = {detail["seq"] for detail in json.loads(unzip(data)[DETAILS])}
    actions = {entry[3] for entry in entries if entry[0] in shown}
    assert actions >= {"staff.granted", "staff.factor_added", "order.received", "order.used", "incident.decided"}


def test_pack_has_no_secret_and_no_mail_address(rig: EvidenceRig) -> None:
    everything = b"".join(unzip(rig.pack()).values())
    for secret in (
        rig.seed,
        "security@acme.example",
        "OPENSSH PRIVATE KEY",
        *(key.hex() for key in rig.audit_keys.values()),
    ):
        assert secret.encode() not in everything


def test_text_of_a_request_is_escaped_in_page_and_spreadsheet(rig: EvidenceRig) -> None:
    with rig.world.database.write() as connection:
        connection.exec_driver_sql("UPDATE attempt SET user_agent = '=cmd|calc', path = '/a,\"b\"'")
        connection.exec_driver_sql("UPDATE account SET reference = '<script>x</script>'")
    files = unzip(rig.pack())
    rows = list(csv.DictReader(io.StringIO(files[ATTEMPTS].decode())))
    assert (rows[0]["user_agent"], rows[0]["path"]) == ("'=cmd|calc", '/a,"b"')
    assert b"<script>" not in files[PAGE]


def test_attempts_after_the_end_of_the_incident_are_left_out(rig: EvidenceRig) -> None:
    rig.sql("UPDATE incident SET closed_at = first_at")
    rig.sql("UPDATE attempt SET at = (SELECT first_at FROM incident)")
    assert len(list(csv.DictReader(io.StringIO(unzip(rig.pack())[ATTEMPTS].decode())))) == 20
    rig.sql("UPDATE incident SET closed_at = first_at - 1, first_at = first_at - 1")
    assert unzip(rig.pack())[ATTEMPTS].splitlines()[1:] == []


def erase(rig: EvidenceRig) -> None:
    """Erase the incident's account, as an order of Amy does."""
    order_id = rig.order("amy", Action.ERASE_ACCOUNT, rig.account_id, {})
    with rig.world.database.write_session() as session:
        account = session.get_one(Account, rig.account_id)
        erase_account(session, account, actor="amy", reason="asked for", now=rig.now, order_id=order_id)


def test_pack_with_erased_details_verifies_and_shows_fewer(rig: EvidenceRig) -> None:
    before = verify(rig, rig.pack()).shown
    erase(rig)
    report = verify(rig, rig.pack())
    assert report.shown < before
    assert [(order.action, order.proof) for order in report.orders] == [
        ("staff.add", "certificate"), ("incident.decide", "erased"), ("accounts.erase", "certificate"),
    ]  # fmt: skip


EMPTIED = {
    "a detail": ("UPDATE audit_entry SET detail = NULL, salt = NULL WHERE action = 'incident.decided'", DETAILS),
    "a receipt": ("UPDATE audit_entry SET detail = NULL, salt = NULL WHERE action = 'order.used'", DETAILS),
    "an order": ("UPDATE staff_order SET body = '', signature = '' WHERE action = 'incident.decide'", ORDERS),
    "a grant": ("UPDATE staff_order SET body = '', signature = '' WHERE action = 'staff.add'", ORDERS),
}


def test_emptied_entry_about_the_delivery_of_new_keys_is_found(rig: EvidenceRig) -> None:
    """No order is behind it, and it is not about the incident itself."""
    rig.sql("UPDATE incident SET regeneration_id = (SELECT id FROM regeneration)")
    assert verify(rig, rig.pack()).orders
    rig.sql("UPDATE audit_entry SET detail = NULL, salt = NULL WHERE action = 'keys.ordered'")
    found, said = broken(rig, rig.pack())
    assert (found, "is missing" in said) == (DETAILS, True), said


@pytest.mark.parametrize(("statement", "file"), EMPTIED.values(), ids=EMPTIED)
def test_what_somebody_has_emptied_does_not_pass_as_erased(rig: EvidenceRig, statement: str, file: str) -> None:
    rig.sql(statement)
    found, said = broken(rig, rig.pack())
    assert (found, "is missing" in said) == (file, True), said


def test_what_was_emptied_after_an_erasure_is_not_accounted_for_by_it(rig: EvidenceRig) -> None:
    erase(rig)
    extended(rig, rig.sign)
    verify(rig, rig.pack())
    rig.sql("UPDATE staff_order SET body = '', signature = '' WHERE action = 'incident.extend'")
    assert "no entry of an erasure names it" in broken(rig, rig.pack())[1]


def test_erasure_whose_entry_is_not_shown_accounts_for_nothing(rig: EvidenceRig) -> None:
    erase(rig)
    without = edit(DETAILS, lambda found: found.remove(next(one for one in found if '"entries"' in one["detail"])))
    assert "no entry of an erasure names it" in broken(rig, rig.changed(rig.pack(), without, signed=True))[1]


# Changes


def without_grants(details: list[dict[str, str]]) -> None:
    details[:] = [each for each in details if "responder" not in each["detail"]]


def other_factor(files: Files) -> None:
    edit(ORDERS, lambda orders: orders[1].update(factor="other"))(files)
    edit(DETAILS, lambda found: found.remove(next(one for one in found if "incident.decide" in one["detail"])))(files)


OTHER_TIME = edit(ORDERS, lambda orders: orders[1].update(received_at=orders[1]["received_at"] - 1))
CHANGES: dict[str, tuple[Callable[[Files], None], str]] = {
    "timeline.json": (replaced(TIMELINE, '"decided"', '"dismissed"'), f"{TIMELINE}: the event of entry"),
    "chain.jsonl": (replaced(CHAIN, '"incident.decided"', '"incident.closed"'), f"{CHAIN}: entry"),
    "an entry is left out": (lambda files: files.update({CHAIN: files[CHAIN].split(b"\n", 1)[1]}), f"{CHAIN}: entry 1"),
    "the end is left out": (
        lambda files: files.update({CHAIN: b"".join(files[CHAIN].splitlines(keepends=True)[:-1])}),
        "the end is missing",
    ),
    "details.json": (replaced(DETAILS, "by phone", "by mail"), "its detail does not match its commitment"),
    "checkpoints.txt": (
        replaced(CHECKPOINTS, '"seq":', '"seq":1'),
        f"{CHECKPOINTS}: the checkpoint's signature is wrong",
    ),
    "an order's body": (replaced(ORDERS, "regenerate", "dismissing"), "does not match what was to be signed"),
    "an order's certificate": (
        edit(ORDERS, lambda orders: orders[1].update(signature=orders[0]["signature"])),
        "does not match what was to be signed",
    ),
    "an order's time": (OTHER_TIME, "the audit log has another receipt of it"),
    "an order's subject": (edit(ORDERS, lambda orders: orders[1].update(subject="other")), "is about something else"),
    "an order's factor": (edit(ORDERS, lambda orders: orders[1].update(factor="other")), "with another factor"),
    "an order's part": (edit(ORDERS, lambda orders: orders[1].update(part_of="x")), "that it is a part of is missing"),
    "an order that was never received": (
        edit(ORDERS, lambda orders: orders.append({**orders[1], "id": "x", "body": ""})),
        "the audit log has no receipt of it",
    ),
    "an order's factor, without its receipt's detail": (other_factor, "was not registered by ada"),
    "an order is left out": (
        edit(ORDERS, lambda orders: orders.pop(0)),
        "that granted ada a role or factor is missing",
    ),
    "all orders are left out": (lambda files: files.update({ORDERS: b"[]"}), "of the audit log is missing"),
    "a detail of no entry": (
        edit(DETAILS, lambda details: details.append({"seq": 999, "detail": "{}", "salt": "00"})),
        "there is no entry 999",
    ),
    "a grant's detail is left out": (edit(DETAILS, without_grants), "was erased or left out"),
    "attempts.csv": (replaced(ATTEMPTS, "203.0.113.9", "203.0.113.8"), ""),
    "mails.json": (replaced(MAILS, "[", "[ "), ""),
    "timeline.html": (replaced(PAGE, "Timeline", "Time line"), ""),
}
"""What only the signature of the manifest covers has no text: only the installation can vouch for it."""


@pytest.mark.parametrize("name", CHANGES)
def test_changed_file_is_found_by_the_manifest(made: tuple[EvidenceRig, bytes], name: str) -> None:
    rig, data = made
    file, said = broken(rig, rig.changed(data, CHANGES[name][0], signed=False))
    assert file in FILES
    assert "does not have the hash of the manifest" in said


@pytest.mark.parametrize("name", [name for name, (_, said) in CHANGES.items() if said])
def test_changed_file_is_found_although_the_manifest_is_signed_again(
    made: tuple[EvidenceRig, bytes], name: str
) -> None:
    rig, data = made
    change, expected = CHANGES[name]
    assert expected in broken(rig, rig.changed(data, change, signed=True))[1]


@pytest.mark.parametrize("name", [name for name, (_, said) in CHANGES.items() if not said])
def test_what_the_installation_vouches_for_passes_when_it_signs_again(
    made: tuple[EvidenceRig, bytes], name: str
) -> None:
    """It says what the manifest's signature is needed for."""
    rig, data = made
    assert verify(rig, rig.changed(data, CHANGES[name][0], signed=True)).orders


NEEDED = {
    "timeline.json": (verification, "compare_timeline"),
    "all orders are left out": (verification, "check_complete"),
    "an order's body": (order_proofs, "verify_signature"),
}
"""Which check finds a change; without it the changed pack would pass."""


@pytest.mark.parametrize("name", NEEDED)
def test_changed_file_would_pass_without_its_check(
    made: tuple[EvidenceRig, bytes], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    rig, data = made
    changed = rig.changed(data, CHANGES[name][0], signed=True)
    broken(rig, changed)
    where, check = NEEDED[name]
    genuine = {one["id"]: one for one in json.loads(unzip(data)[ORDERS])}

    def trusting(signature: str, body: bytes, **options: object) -> object:
        """Believe a signature of whatever was really signed by it."""
        order_id = json.loads(body)["order_id"]
        return verify_signature(signature, genuine[order_id]["body"].encode(), **options)  # type: ignore[arg-type]

    monkeypatch.setattr(where, check, trusting if check == "verify_signature" else lambda *_values: None)
    verify(rig, changed)


MANIFESTS: dict[str, tuple[Callable[[Files], None], str]] = {
    "changed": (replaced(MANIFEST, '"made_by":"amy"', '"made_by":"eve"'), "its signature is wrong"),
    "hash of a changed file": (replaced(MANIFEST, '"files":{', '"files":{ '), "its signature is wrong"),
    "no signature": (lambda files: files.update({SIGNATURE: b""}), "its signature is wrong"),
    "not JSON": (lambda files: files.update({MANIFEST: b"{"}), "it is not JSON"),
    "a list": (lambda files: files.update({MANIFEST: b"[]"}), "it is not a JSON object"),
    "a file is missing": (lambda files: files.pop(MAILS), "it does not have exactly the files"),
    "a file is added": (lambda files: files.update({"more.txt": b""}), "it does not have exactly the files"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_changed_manifest_is_found(made: tuple[EvidenceRig, bytes], name: str) -> None:
    rig, data = made
    change, expected = MANIFESTS[name]
    assert expected in broken(rig, rig.changed(data, change, signed=False))[1]


@pytest.mark.parametrize("subjects", ["", '"subjects":5,', '"subjects":null,'])
def test_signed_manifest_without_subjects_is_refused(made: tuple[EvidenceRig, bytes], subjects: str) -> None:
    rig, data = made
    files = unzip(data)
    changed = re.sub(rb'"subjects":\[[^]]*\],?', subjects.encode(), files[MANIFEST]).replace(b",}", b"}")
    files.update({MANIFEST: changed, SIGNATURE: rig.signer.sign(changed).encode()})
    assert broken(rig, zipped(files)) == (MANIFEST, "manifest.json: it lacks a field")


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (rb'"octy-evidence-1"', b'"octy-evidence-2"', "its format is not octy-evidence-1"),
        (rb'"mails.json"', b'"letters.json"', "it does not list the files of a pack"),
    ],
)
def test_signed_manifest_of_another_kind_is_refused(
    made: tuple[EvidenceRig, bytes], old: bytes, new: bytes, why: str
) -> None:
    rig, data = made
    files = unzip(data)
    changed = files[MANIFEST].replace(old, new)
    files.update({MANIFEST: changed, SIGNATURE: rig.signer.sign(changed).encode()})
    assert broken(rig, zipped(files)) == (MANIFEST, f"manifest.json: {why}")


def test_pack_that_unpacks_to_more_than_a_pack_can_be_is_refused(
    made: tuple[EvidenceRig, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, data = made
    size = sum(map(len, unzip(data).values()))
    monkeypatch.setattr(reader, "MAX_BYTES", size)
    assert verify(rig, data).orders
    monkeypatch.setattr(reader, "MAX_BYTES", size - 1)
    assert "it is larger than a pack can be" in broken(rig, data)[1]


def test_order_for_another_installation_is_found(made: tuple[EvidenceRig, bytes]) -> None:
    """Its own checkpoints would show it too; they are left out."""
    rig, data = made
    files = {name: content for name, content in unzip(data).items() if name in FILES} | {CHECKPOINTS: b""}
    origin = replace(rig.origin, installation="b" * 16)
    other = write_pack(files, rig.incident, rig.signer, origin, rig.now, subjects=[rig.incident])
    file, said = broken(rig, other)
    assert (file, "it is for another installation" in said) == (ORDERS, True), said


def test_pack_of_other_keys_is_refused(made: tuple[EvidenceRig, bytes], tmp_path: Path) -> None:
    rig, data = made
    with pytest.raises(InvalidPackError, match=r"manifest\.json: its signature is wrong"):
        verify_pack(data, public_keys(Keychain.generate("a1")), rig.keys.authorities())
    other = CertificateAuthorities([SshKey.make(tmp_path / "ca").public], max_lifetime=57_600, revoked=Revocations())
    with pytest.raises(InvalidPackError, match=r"orders\.json: order .*authority"):
        verify_pack(data, rig.public, other)


def test_two_files_of_one_name_are_refused(made: tuple[EvidenceRig, bytes]) -> None:
    rig, data = made
    written = io.BytesIO(data)
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(written, "a") as archive:
        archive.writestr(TIMELINE, "{}")
    assert "it does not have exactly the files" in broken(rig, written.getvalue())[1]


def test_whatever_is_no_pack_is_refused_and_raises_nothing_else(made: tuple[EvidenceRig, bytes]) -> None:
    rig, data = made
    chooser = random.Random(14)
    for wrong in (b"", b"PK", data[:100], data[: len(data) // 2], b"x" * 1000, zipped({})):
        assert broken(rig, wrong)[0] == ""
    for _ in range(200):
        place = chooser.randrange(len(data))
        changed = data[:place] + bytes([chooser.randrange(256)]) + data[place + 1 :]
        try:
            verify(rig, changed)
        except InvalidPackError:
            continue
        assert unzip(changed) == unzip(data)  # a byte of the ZIP format that does not count


WRONG = (
    b"",
    b"{}",
    b"[]",
    b"[1]",
    b"[{}]",
    b"null",
    b'{"timeline": [1]}',
    b'{"timeline": [{}]}',
    b"[[1]]",
    b"\xff",
    b"[" * 100_000,
)


def test_values_of_other_types_are_refused_although_the_manifest_is_signed_again(
    made: tuple[EvidenceRig, bytes],
) -> None:
    rig, data = made
    for name in (ORDERS, DETAILS, TIMELINE, CHAIN):
        for wrong in WRONG:
            changed = rig.changed(data, lambda files, name=name, wrong=wrong: files.update({name: wrong}), signed=True)
            with pytest.raises(InvalidPackError):
                verify(rig, changed)


# Grants


def change_ada(rig: EvidenceRig, action: Action, fields: dict[str, str], **changed: object) -> None:
    """Change Ada's row with this order of Amy's behind it."""
    order_id = rig.order("amy", action, "ada", fields)
    with rig.world.database.write_session() as session:
        rig.members.change(session, "ada", granted_by=order_id, now=rig.now, by="amy", **changed)


def disable_forged_ada(rig: EvidenceRig) -> None:
    """Disable Ada, whose row SQL has changed, as an order of Amy does."""
    rig.sql("UPDATE staff SET display_name = 'Eve' WHERE handle = 'ada'")
    order_id = rig.order("amy", Action.DISABLE_STAFF, "ada", {})
    with rig.world.database.write_session() as session:
        rig.members.disable_forged(session, "ada", granted_by=order_id, by="amy", now=rig.now)


def add_kim(rig: EvidenceRig, action: Action, subject: str, fields: dict[str, str]) -> None:
    """Give Kim the role responder with this order of Amy's behind it, as no worker does."""
    rig.add_member("kim", Role.RESPONDER, rig.order("amy", action, subject, fields))


GRANTS: dict[str, tuple[Callable[[EvidenceRig], None], str]] = {
    "an order for another role": (
        lambda rig: add_kim(rig, Action.ADD_STAFF, "kim", {"role": "viewer"}),
        "grants kim something else than its order does",
    ),
    "an order for another person": (
        lambda rig: add_kim(rig, Action.ADD_STAFF, "ben", {"role": "responder"}),
        "granted kim a role or factor is about something else",
    ),
    "an order to end all rights": (
        lambda rig: add_kim(rig, Action.DISABLE_STAFF, "kim", {}),
        "grants kim something else than its order does",
    ),
    "an order that is no grant": (
        lambda rig: add_kim(rig, Action.TEST_WEBHOOK, "kim", {}),
        "granted kim a role or factor is about something else",
    ),
    "an order that is not in the pack": (
        lambda rig: rig.add_member("kim", Role.RESPONDER, uuid7(rig.now)),
        "granted kim a role or factor is missing",
    ),
    "no order": (
        lambda rig: rig.add_member("kim", Role.RESPONDER, BOOTSTRAP),
        "kim was granted a role or factor without an order",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("grant", "why"), GRANTS.values(), ids=GRANTS)
def test_grant_that_its_order_does_not_bear_out_is_found(
    rig: EvidenceRig, grant: Callable[[EvidenceRig], None], why: str
) -> None:
    """As somebody does who has the installation's keys."""
    grant(rig)
    rig.now += 60
    rig.order("kim", Action.EXTEND, rig.incident, {"days": 3})
    assert why in broken(rig, rig.pack())[1]


def test_order_about_a_role_lets_no_disabled_person_act_again(rig: EvidenceRig) -> None:
    for action, fields, state in (
        (Action.DISABLE_STAFF, {}, StaffState.DISABLED),
        (Action.CHANGE_ROLE, {"role": "responder"}, StaffState.ACTIVE),
    ):
        change_ada(rig, action, fields, state=state)
    extended(rig, rig.sign)
    assert "grants ada something else than its order does" in broken(rig, rig.pack())[1]


def test_grant_that_stands_in_the_log_again_counts_no_more(rig: EvidenceRig) -> None:
    change_ada(rig, Action.CHANGE_ROLE, {"role": "viewer"}, role=Role.VIEWER)
    with rig.world.database.read_session() as session:
        entries = list(repository.entries(session))
        orders = {row.id: order_record(row) for row in session.exec(select(StaffOrder))}
    used = {entry.order_id: entry.seq for entry in entries if entry.action == "order.used"}
    end = entries[-1]._replace(seq=len(entries) + 2)
    assert Grants(entries, orders, used).has_role("ada", Role.VIEWER, end)
    of_amy, of_ada, *_ = (one for one in entries if one.action == "staff.granted")
    for person, again in (("ada", [of_ada]), ("amy", [of_ada._replace(subject="amy"), of_amy])):
        grants = Grants([*entries, *(one._replace(seq=end.seq - 1) for one in again)], orders, used)
        with pytest.raises(RefusedSignatureError, match=f"an earlier grant of {person} was written back"):
            grants.has_role(person, Role.VIEWER, end)


def test_grant_counts_only_after_the_use_of_its_order(rig: EvidenceRig) -> None:
    with rig.world.database.read_session() as session:
        entries = list(repository.entries(session))
        orders = {row.id: order_record(row) for row in session.exec(select(StaffOrder))}
    grants, end = Grants(entries, orders, {}), entries[-1]._replace(seq=len(entries) + 1)
    with pytest.raises(RefusedSignatureError, match="granted ada a role or factor was not used before"):
        grants.has_role("ada", Role.VIEWER, end)
    with pytest.raises(RefusedSignatureError, match="nothing has granted eve a role"):
        grants.has_role("eve", Role.VIEWER, end)


def test_factor_needs_an_order_that_invites_its_owner(rig: EvidenceRig) -> None:
    rig.order("amy", Action.CHANGE_ROLE, "ada", {"role": "responder"})
    extended(rig, rig.add_passkey(rig.orders["staff.role"]))
    assert "that granted ada a factor is about something else" in broken(rig, rig.pack())[1]


def test_changes_of_role_and_state_by_orders_verify(rig: EvidenceRig) -> None:
    changes = (
        (Action.CHANGE_ROLE, {"role": "viewer"}, {"role": Role.VIEWER}),
        (Action.DISABLE_STAFF, {}, {"state": StaffState.DISABLED}),
        (Action.ADD_STAFF, {"role": "responder"}, {"role": Role.RESPONDER, "state": StaffState.INVITED}),
        (Action.RESET_FACTOR, {}, {"state": StaffState.INVITED}),
        (Action.CHANGE_ROLE, {"role": "key_admin"}, {"role": Role.KEY_ADMIN, "state": StaffState.ACTIVE}),
    )
    for action, fields, changed in changes:
        change_ada(rig, action, fields, **changed)
    disable_forged_ada(rig)
    again = (Action.ADD_STAFF, {"role": "responder"}, {"role": Role.RESPONDER, "state": StaffState.INVITED})
    active = (Action.CHANGE_ROLE, {"role": "responder"}, {"role": Role.RESPONDER, "state": StaffState.ACTIVE})
    for action, fields, changed in (again, active):
        change_ada(rig, action, fields, **changed)
    order_id = extended(rig, rig.sign)
    assert order_id in [order.id for order in verify(rig, rig.pack()).orders]


# Orders of many, by hardware key, by passkey, with four eyes, by break glass


def test_part_of_an_order_of_many_is_verified_with_the_whole(rig: EvidenceRig) -> None:
    fields = {"decision": "dismiss", "leaked": False, "incidents": [rig.incident]}
    whole = rig.order("ada", Action.DECIDE_MANY, "", fields)
    with rig.world.database.write_session() as session:
        part = rig.receipts.add_part(session, whole, rig.incident, rig.now)
        rig.receipts.use(session, part.order_id, part.action, part.subject, by="test", now=rig.now)
    orders = {order.id: order for order in verify(rig, rig.pack()).orders}
    assert (orders[part.order_id].action, orders[part.order_id].proof) == ("incident.decide", "certificate")
    assert (orders[part.order_id].subject, orders[whole].subject) == (rig.incident, "")


def test_order_by_a_hardware_key_that_verified_its_user_needs_no_second_factor(rig: EvidenceRig) -> None:
    order_id = extended(rig, by_token(rig, flags=0x05))
    [order] = [order for order in verify(rig, rig.pack()).orders if order.id == order_id]
    assert (order.proof, order.factor) == ("certificate", "hardware-key")


def by_token(rig: EvidenceRig, *, flags: int) -> Callable[[Order], Proof]:
    """Return what signs orders of Ada by a FIDO token: 1, it was touched; 4, it has verified its user."""
    token = SoftToken()
    certificate = token.certificate(rig.keys.authority, after=int(rig.now) - 60, before=int(rig.now) + 3600)
    return lambda order: Evidence(token.sign(certificate, order.to_bytes(), flags=flags), source=ADDRESS)


def extended(rig: EvidenceRig, prove: Callable[[Order], Proof]) -> str:
    return rig.order("ada", Action.EXTEND, rig.incident, {"days": 3}, prove)


def test_order_by_passkey_verifies_with_the_public_key_of_the_audit_log(rig: EvidenceRig) -> None:
    order_id = extended(rig, rig.add_passkey())
    [order] = [order for order in verify(rig, rig.pack()).orders if order.id == order_id]
    assert (order.proof, order.actor, order.serial) == ("passkey", "ada", 0)


PASSKEY_CHANGES: dict[str, tuple[Callable[[Files], None], str]] = {
    "body": (replaced(ORDERS, r"\"days\":3", r"\"days\":9"), "passkey's answer is not accepted"),
    "another order's signature": (
        edit(ORDERS, lambda orders: orders[-1].update(signature=orders[-2]["signature"])),
        "passkey's answer is not accepted",
    ),
    "another factor": (
        edit(ORDERS, lambda orders: orders[-1].update(factor=orders[1]["factor"])), "with another factor",
    ),
    "no JSON": (edit(ORDERS, lambda orders: orders[-1].update(signature="{")), "passkey's signature is malformed"),
    "registration left out": (
        edit(DETAILS, lambda found: found.remove(next(one for one in found if "public_key" in one["detail"]))),
        "was erased or left out",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PASSKEY_CHANGES)
def test_changed_order_by_passkey_is_found_although_the_manifest_is_signed_again(rig: EvidenceRig, name: str) -> None:
    sign = rig.add_passkey()
    extended(rig, sign)
    extended(rig, sign)
    change, expected = PASSKEY_CHANGES[name]
    assert expected in broken(rig, rig.changed(rig.pack(), change, signed=True))[1]


def test_passkey_of_another_site_is_refused(rig: EvidenceRig) -> None:
    """The origin is the one that the browser has signed; it must be the host of the registration."""
    extended(rig, rig.add_passkey())

    def change(orders: list[dict[str, str]]) -> None:
        answer = json.loads(orders[-1]["signature"])
        data = json.loads(decode(answer["response"]["clientDataJSON"]))
        answer["response"]["clientDataJSON"] = encode(json.dumps({**data, "origin": "https://evil.example"}).encode())
        orders[-1]["signature"] = json.dumps(answer)

    said = broken(rig, rig.changed(rig.pack(), edit(ORDERS, change), signed=True))[1]
    assert "was made on another site" in said


def digest(rig: EvidenceRig, order_id: str) -> dict[str, str]:
    """Return the fields of an approval of this order."""
    with rig.world.database.read_session() as session:
        return {"digest": Order.from_bytes(session.get_one(StaffOrder, order_id).body.encode()).digest()}


def test_approval_of_a_second_person_is_shown_and_verified(rig: EvidenceRig) -> None:
    decided = rig.orders["incident.decide"]
    rig.order("amy", Action.APPROVE, decided, digest(rig, decided))
    rig.order("amy", Action.APPROVE, rig.orders["staff.add"], {"digest": "0" * 64})  # of another content
    data = rig.pack()
    orders = {order.id: order for order in verify(rig, data).orders}
    assert orders[decided].approved_by == "amy"
    assert orders[rig.orders["staff.add"]].approved_by == ""
    assert [order.proof for order in orders.values() if order.action == "order.approve"] == ["certificate"] * 2
    forged = rig.changed(data, replaced(ORDERS, r"\"actor\":\"amy\"", r"\"actor\":\"eve\""), signed=True)
    assert broken(rig, forged)[0] == ORDERS


def test_approval_by_break_glass_unused_or_by_a_smaller_role_does_not_count(rig: EvidenceRig) -> None:
    decided, added = rig.orders["incident.decide"], rig.orders["staff.add"]
    rig.order("amy", Action.APPROVE, decided, digest(rig, decided), lambda _order: BreakGlass())
    rig.order("ada", Action.APPROVE, added, digest(rig, added))
    rig.now += 60
    unused = Order(
        uuid7(rig.now), INSTALLATION, Action.APPROVE, decided, digest(rig, decided), "by phone", "amy", int(rig.now)
    )
    with rig.world.database.write_session() as session:
        rig.receipts.receive(session, unused.to_bytes(), rig.sign(unused), rig.now)
    orders = {order.id: order for order in verify(rig, rig.pack()).orders}
    assert sum(order.action == "order.approve" for order in orders.values()) == 3
    assert (orders[decided].approved_by, orders[added].approved_by) == ("", "")


def test_order_by_break_glass_is_shown_as_unproven(rig: EvidenceRig) -> None:
    order_id = extended(rig, lambda _order: BreakGlass())
    [order] = [order for order in verify(rig, rig.pack()).orders if order.id == order_id]
    assert order.proof == "break-glass"


# Orders that were received by somebody who has the keys of the host, and a receipt of their own


def by_a_grant_without_an_order(rig: EvidenceRig, _patch: pytest.MonkeyPatch) -> None:
    rig.add_member("kim", Role.ADMIN, BOOTSTRAP)
    rig.order("kim", Action.EXTEND, rig.incident, {"days": 3})


def by_a_small_role(rig: EvidenceRig, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Members, "require_active", lambda members, session, handle, _role: members.require(session, handle))
    rig.order("ada", Action.DECIDE, rig.incident, {"decision": "regenerate", "leaked": True})


def by_an_untouched_token(rig: EvidenceRig, patch: pytest.MonkeyPatch) -> None:
    def believing(*values: object, **options: object) -> object:
        return replace(verify_signature(*values, **options), user_verified=True)  # type: ignore[arg-type]

    patch.setattr(proofs, "verify_signature", believing)
    extended(rig, by_token(rig, flags=0x01))


FORGED = {
    "role without an order": (by_a_grant_without_an_order, "kim was granted a role or factor without an order"),
    "role too small": (by_a_small_role, "ada did not have the role for it"),
    "no second factor": (by_an_untouched_token, "its key did not verify its user"),
}


@pytest.mark.parametrize("name", FORGED)
def test_order_that_the_log_does_not_bear_out_is_refused(
    rig: EvidenceRig, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    forge, why = FORGED[name]
    forge(rig, monkeypatch)
    file, said = broken(rig, rig.pack())
    assert (file, why in said) == (ORDERS, True), said


def test_signed_order_can_not_be_passed_off_as_another_kind(made: tuple[EvidenceRig, bytes]) -> None:
    """Who has the audit key can leave out a proof; the verification then says that there is none."""
    rig, data = made
    unsigned = edit(ORDERS, lambda orders: orders[1].update(signature="", certificate=""))
    assert "what it rests on is malformed" in broken(rig, rig.changed(data, unsigned, signed=True))[1]
    without = edit(ORDERS, lambda orders: orders[1].update(factor="break-glass"))
    assert "was received with another factor" in broken(rig, rig.changed(data, without, signed=True))[1]


def test_verification_loads_no_package_that_the_extra_staff_lacks() -> None:
    """An auditor installs `octy-middleware[staff]`."""
    lacking = ("jinja2", "emails", "temporalio", "psycopg", "webauthn", "starlette")
    code = f"import sys, octy_worker.cli.audit_verify; print([one for one in {lacking} if one in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
