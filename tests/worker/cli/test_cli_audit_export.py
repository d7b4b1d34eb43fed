"""`octy audit export` and `octy audit verify FILE`: ordered on the host, verified with public keys alone."""

import json
import re
import stat
import time
from pathlib import Path

import pytest
from support.cli_rig import Octy, audited, octy_for, open_incident
from support.evidence_rig import EvidenceRig, edit, kept_for, rig, staff_keys, unzip, zipped
from support.in_session import in_session
from support.orders import receipts_of
from support.staff_acts import answering
from support.staff_cli import StaffCli
from support.world import INSTALLATION, World

from octy_middleware.clock import uuid7
from octy_middleware.keys.keychain import Keychain
from octy_middleware.states import Answer
from octy_worker.access.orders import Order
from octy_worker.access.proofs import Unproven
from octy_worker.access.roles import Action
from octy_worker.audit.checkpoints import public_keys
from octy_worker.cli import audit, audit_verify
from octy_worker.domain.incidents import answer_incident
from octy_worker.evidence.layout import ORDERS, TIMELINE
from octy_worker.staff.acts import EvidencePack

__all__ = ["kept_for", "rig", "staff_keys"]  # pytest finds them here

pytestmark = pytest.mark.usefixtures("no_system_log")
WHY = ("--reason", "asked by the data protection officer")


@pytest.fixture
def octy(rig: EvidenceRig) -> Octy:
    """The operator's host, with OCTY_STAFF_AUTH=off, as every test of commands."""
    return octy_for(rig.world, OCTY_AUDIT_KEYS=rig.audit_keys.export())


@pytest.fixture
def auditor(rig: EvidenceRig, tmp_path: Path) -> tuple[Octy, tuple[str, ...]]:
    """Somebody with the public keys and nothing else: no database, no settings. And the options that name the keys."""
    keys, authorities = tmp_path / "audit-keys.txt", tmp_path / "ca.pub"
    keys.write_text("".join(f"{key_id} {key}\n" for key_id, key in rig.public.items()))
    authorities.write_text(rig.keys.authority.public)
    nowhere = {"OCTY_DATABASE_URL": f"sqlite:///{tmp_path}/no-such-folder/octy.db"}
    return Octy(nowhere, tmp_path), ("--keys", str(keys), "--ca-keys", str(authorities))


def export(octy: Octy, rig: EvidenceRig, *words: str) -> Path:
    out = rig.world.folder / "evidence.zip"
    octy("audit", "export", "--incident", rig.incident, "--out", str(out), *WHY, *words).must()
    return out


def test_exported_pack_is_verified_by_others(
    rig: EvidenceRig, octy: Octy, auditor: tuple[Octy, tuple[str, ...]]
) -> None:
    out, (elsewhere, keys) = export(octy, rig), auditor
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    said = elsewhere("audit", "verify", str(out), *keys).must().stdout
    assert f"Incident {rig.incident} of installation {INSTALLATION}.\n" in said
    assert re.search(r"The pack is unchanged since ada made it at \d{4}-", said)
    assert re.search(r"It shows \d+ of \d+ entries of the audit log, which continue each other\.", said)
    assert re.search(r"proven up to seq \d+, by the checkpoint of", said)
    order = rig.orders["incident.decide"]
    assert f"order {order}: incident.decide by ada, signed by certificate 18, verified; second factor " in said
    assert "audit.export by ada, OCTY_STAFF_AUTH was off: no signature" in said


def test_verified_pack_as_json_has_the_documented_names(
    rig: EvidenceRig, octy: Octy, auditor: tuple[Octy, tuple[str, ...]]
) -> None:
    elsewhere, keys = auditor
    found = elsewhere("audit", "verify", str(export(octy, rig)), *keys, "--json").must().json
    documented = audit_verify.PACK_JSON.removeprefix("of a pack: ")
    assert set(found) == set(re.sub(r"\[[^]]*\]", "", documented).split(", "))
    assert set(found["orders"][0]) == set(re.findall(r"\w+", documented.partition("[")[2]))
    assert (found["ok"], found["incident"], found["made_by"]) == (True, rig.incident, "ada")
    assert found["proven_up_to"] == found["entries"]


def test_changed_pack_is_broken(rig: EvidenceRig, octy: Octy, auditor: tuple[Octy, tuple[str, ...]]) -> None:
    out, (elsewhere, keys) = export(octy, rig), auditor
    files = unzip(out.read_bytes())
    edit(ORDERS, lambda orders: orders.pop())(files)
    out.write_bytes(zipped(files))
    assert "The pack is broken: orders.json: it does not have the hash" in (
        elsewhere("audit", "verify", str(out), *keys).must(1).stdout
    )
    found = elsewhere("audit", "verify", str(out), *keys, "--json").must(1).json
    assert (found["ok"], found["file"]) == (False, ORDERS)


def test_export_is_an_order_and_an_entry_of_the_log_and_in_its_own_pack(rig: EvidenceRig, octy: Octy) -> None:
    out = rig.world.folder / "evidence.zip"
    done = octy("audit", "export", "--incident", rig.incident[:13], "--out", str(out), *WHY, "--json").must()
    assert set(done.json) == set(audit.EXPORT_JSON.split(", "))
    [line] = audited(done.stderr)
    assert line.items() >= {"what": "audit_exported", "actor": "ada", "incident": rig.incident}.items()
    listed = octy("audit", "list", "--action", "audit.exported", "--json").must().json["entries"]
    assert [(each["actor"], each["subject"], each["detail"]) for each in listed] == [
        ("ada", rig.incident, {"reason": WHY[1]})
    ]
    orders = {order["action"]: order for order in json.loads(unzip(out.read_bytes())[ORDERS])}
    assert (orders["audit.export"]["state"], orders["audit.export"]["id"]) == ("used", listed[0]["order_id"])
    assert "audit.exported" in unzip(out.read_bytes())["chain.jsonl"].decode()


def test_used_order_exports_nothing_again(rig: EvidenceRig, octy: Octy) -> None:
    order_id = "0199f2c4-7d1e-7000-8000-000000000001"

    def words(name: str) -> tuple[str, ...]:
        out = str(rig.world.folder / name)
        return ("audit", "export", "--incident", rig.incident, "--out", out, *WHY, "--order-id", order_id)

    octy(*words("a.zip")).must()
    assert "was used already" in octy(*words("b.zip")).must(3).stderr
    assert not (rig.world.folder / "b.zip").exists()
    assert octy("audit", "list", "--action", "audit.exported", "--json").must().json["total"] == 1


def test_order_that_waited_for_more_than_a_day_is_refused_and_ends(rig: EvidenceRig, octy: Octy) -> None:
    then = time.time() - 25 * 3600
    order = Order(uuid7(then), INSTALLATION, Action.EXPORT_AUDIT, rig.incident, {}, WHY[1], "ada", int(then))
    with rig.world.database.write_session() as session:
        receipts_of(rig.world).receive(session, order.to_bytes(), Unproven(), then)
    out = rig.world.folder / "evidence.zip"
    words = ("audit", "export", "--incident", rig.incident, "--out", str(out), *WHY, "--order-id", order.order_id)
    assert "more than 24 hours ago and not used; order it again" in octy(*words).must(3).stderr
    assert not out.exists()
    state = "SELECT state, refusal LIKE '%order it again' FROM staff_order WHERE id = :id"
    assert rig.world.rows(state, id=order.order_id) == [("refused", 1)]
    [entry] = octy("audit", "list", "--action", "order.refused", "--json").must().json["entries"]
    assert (entry["actor"], entry["order_id"]) == ("ada", order.order_id)
    assert "was refused already" in octy(*words).must(3).stderr


def test_timeline_that_was_edited_by_sql_is_found_in_the_pack(
    rig: EvidenceRig, octy: Octy, auditor: tuple[Octy, tuple[str, ...]]
) -> None:
    """The installation signs what its database says; the audit log says what happened."""
    with rig.world.database.write() as connection:
        connection.exec_driver_sql("UPDATE incident_event SET actor = 'eve' WHERE what = 'decided'")
    elsewhere, keys = auditor
    found = elsewhere("audit", "verify", str(export(octy, rig)), *keys, "--json").must(1).json
    assert (found["file"], "is missing or changed" in found["problem"]) == (TIMELINE, True)


def test_export_writes_nothing_without_keys_or_over_a_file(rig: EvidenceRig, octy: Octy) -> None:
    out = rig.world.folder / "evidence.zip"
    words = ("audit", "export", "--incident", rig.incident, "--out", str(out), *WHY)
    assert "OCTY_AUDIT_KEYS is not set" in octy(*words, OCTY_AUDIT_KEYS="").must(3).stderr
    assert not out.exists()
    assert octy("audit", "list", "--action", "audit.exported", "--json").must().json["total"] == 0
    out.write_text("other")
    assert "exists already" in octy(*words).must(2).stderr
    assert out.read_text() == "other"
    assert (
        "no incident has the id"
        in octy("audit", "export", "--incident", "nope", "--out", f"{out}2", *WHY).must(2).stderr
    )


@pytest.mark.parametrize(
    ("name", "said"), [("nowhere/evidence.zip", "can't be written: No such file"), ("taken.zip", "exists already")]
)
def test_file_that_cannot_be_made_uses_no_order(rig: EvidenceRig, octy: Octy, name: str, said: str) -> None:
    (rig.world.folder / "taken.zip").write_text("other")
    words = ("audit", "export", "--incident", rig.incident, *WHY, "--order-id", uuid7(time.time()), "--out")
    assert said in octy(*words, str(rig.world.folder / name)).must(2).stderr
    octy(*words, str(rig.world.folder / "evidence.zip")).must()


def test_export_needs_a_proof_where_staff_auth_is_on(rig: EvidenceRig, octy: Octy) -> None:
    out = rig.world.folder / "evidence.zip"
    words = ("audit", "export", "--incident", rig.incident, "--out", str(out), *WHY)
    assert "nothing proves who you are" in octy(*words, OCTY_STAFF_AUTH="on").must(2).stderr
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("{folder}/none.zip", "--keys", "{folder}/keys"), "can't be read: No such file"),
        (("{folder}/keys",), "no public keys to verify with"),
        (("{folder}/keys", "--keys", "{folder}/keys", "--ca-keys", "{folder}/none"), "can't be read: No such file"),
    ],
)
def test_verification_of_a_pack_refuses_wrong_input(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    public = public_keys(Keychain.generate("a1"))
    (tmp_path / "keys").write_text("".join(f"{key_id} {key}\n" for key_id, key in public.items()))
    elsewhere = Octy({}, tmp_path)
    assert said in elsewhere("audit", "verify", *(word.format(folder=tmp_path) for word in words)).must(2).stderr


def test_export_documents_its_json_with_examples() -> None:
    page = " ".join(Octy()("audit", "export", "--help", COLUMNS="300").must().stdout.split())
    assert all(said in page for said in ("--json", "JSON: ", "Examples: octy audit export"))


def test_pack_of_real_staff_leads_back_to_the_bootstrap(world: World, tmp_path: Path) -> None:
    """Everything by commands: the first admin, a colleague added by an order, an amendment, the export."""
    staff = StaffCli.make(world)
    staff.bootstrap("amy")
    staff.add("ada", "responder")
    _, incident_id = open_incident(world)
    in_session(
        world.database, answer_incident, incident_id, Answer.NOT_US, leaked=False, by="customer", now=time.time()
    )
    staff.order("ada", "incidents", "change", incident_id, "dismiss", reason="by phone").must()
    out = tmp_path / "evidence.zip"
    exported = staff.order("amy", "audit", "export", "--incident", incident_id, "--out", str(out)).must().json
    assert exported["actor"] == "amy"
    refused = staff.order("ada", "audit", "export", "--incident", incident_id, "--out", f"{out}2").must(3)
    assert "ada is responder, and this needs admin" in refused.stderr
    (tmp_path / "keys").write_text(staff.octy("audit", "keys").must().stdout)
    (tmp_path / "ca.pub").write_text(staff.octy.variables["OCTY_STAFF_CA_KEYS"])
    words = ("audit", "verify", str(out), "--keys", f"{tmp_path}/keys", "--ca-keys", f"{tmp_path}/ca.pub")
    found = Octy({}, tmp_path)(*words, "--json").must().json
    assert {(order["action"], order["actor"], order["proof"]) for order in found["orders"]} >= {
        ("incident.amend", "ada", "certificate"),
        ("staff.add", "amy", "certificate"),
        ("audit.export", "amy", "certificate"),
    }


def test_pack_is_verified_with_the_keys_of_the_settings(rig: EvidenceRig, octy: Octy, tmp_path: Path) -> None:
    out = export(octy, rig)
    settings = {"OCTY_AUDIT_KEYS": rig.audit_keys.export(), "OCTY_STAFF_CA_KEYS": rig.keys.authority.public}
    assert "incident.decide by ada" in Octy(settings, tmp_path)("audit", "verify", str(out)).must().stdout


def test_damaged_pack_is_not_kept(rig: EvidenceRig, octy: Octy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("octy_worker.staff.audit_exports.export", answering(EvidencePack("UEsD", "0" * 64)))
    out = rig.world.folder / "evidence.zip"
    refused = octy("audit", "export", "--incident", rig.incident, "--out", str(out), *WHY).must(1)
    assert "the pack was damaged on its way → order it again, without --order-id" in refused.stderr
    assert not out.exists()
