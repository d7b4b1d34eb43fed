"""Orders as the host receives them and carries them out: what does not fit, or names nothing, is refused."""

import base64
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from support.cli_rig import DENIED
from support.imports_rig import as_csv, person
from support.relay_rig import change
from support.staff_rig import StaffKeys, StaffRig
from support.world import World

from octy_middleware.clock import uuid7
from octy_middleware.errors import ConfigurationError, InvalidInputError
from octy_middleware.keys.keychain import Keychain
from octy_worker.access.members import BOOTSTRAP, StaffState
from octy_worker.access.proofs import Unproven
from octy_worker.access.roles import Action
from octy_worker.canonical_json import JsonValue
from octy_worker.errors import RefusedError
from octy_worker.staff import actor
from octy_worker.staff.acts import (
    ACTS,
    CHANGE_ACCOUNT,
    DECIDE,
    DECIDE_MANY,
    EXTEND,
    IMPORT,
    BulkDecision,
    ContactAddress,
    Decision,
    Extension,
    Import,
    NewAnswer,
    NewKeys,
    Resend,
)
from octy_worker.staff.context import StaffContext
from octy_worker.staff.local_desk import LocalDesk
from octy_worker.staff.member_operations import LIST_STAFF, ListStaff
from octy_worker.staff.membership import Membership
from octy_worker.staff.operations import Act, Fields, NoFields, Submission
from octy_worker.staff.order_forms import draft
from octy_worker.staff.orders import perform
from octy_worker.staff.outputs import DecisionStatus
from octy_worker.staff.provers import UnsignedActor
from octy_worker.staff.queries import CHECK_IMPORT, CheckImport

NOW = 1_800_000_000.0
WHY = "by phone"


def context_of(world: World) -> StaffContext:
    variables = {
        "OCTY_DATABASE_URL": world.url,
        "OCTY_STAFF_AUTH": "off",
        "OCTY_TEMPORAL_ADDRESS": DENIED,
        "OCTY_AUDIT_KEYS": Keychain.generate("a1").export(),
        "OCTY_WEBHOOK_KEYS": Keychain.generate("w1").export(),
    }
    return StaffContext(world.database, variables, clock=lambda: NOW)


def desk_of(world: World, order_id: str | None = None) -> LocalDesk:
    return LocalDesk(context_of(world), lambda: UnsignedActor("ada", Unproven()), order_id)


def states(world: World) -> list[tuple[str, str]]:
    return world.rows("SELECT action, state FROM staff_order ORDER BY id")


# What names nothing: a client of the staff API can send any id

ABOUT: dict[Action, Fields] = {
    Action.DECIDE: Decision("dismiss"),
    Action.EXTEND: Extension(3),
    Action.RESEND: Resend(),
    Action.RESEND_KEYS: Resend(),
    Action.AMEND: NewAnswer("dismiss"),
    Action.EXPORT_AUDIT: NoFields(),
    Action.CHANGE_ACCOUNT: ContactAddress("ada@acme.example"),
    Action.ERASE_ACCOUNT: NoFields(),
    Action.REGENERATE: NewKeys(),
    Action.REVOKE: NoFields(),
    Action.SHOW_WEBHOOK_SECRET: NoFields(),
    Action.ROTATE_WEBHOOK_SECRET: NoFields(),
    Action.TEST_WEBHOOK: NoFields(),
    Action.ACKNOWLEDGE: NoFields(),
}


@pytest.mark.parametrize("action", ABOUT)
def test_order_about_an_unknown_subject_is_refused_for_good(
    world: World, capsys: pytest.CaptureFixture[str], action: Action
) -> None:
    with pytest.raises((InvalidInputError, RefusedError)):
        desk_of(world).order(ACTS[action], uuid7(NOW), ABOUT[action], WHY)
    assert states(world) == [(str(action), "refused")]
    assert '"regeneration": ' not in capsys.readouterr().err


def test_refused_resend_of_a_regeneration_without_an_incident_names_it_in_the_command_log(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    regeneration_id = world.register().regeneration_id
    with pytest.raises((InvalidInputError, RefusedError)):
        desk_of(world).order(ACTS[Action.RESEND_KEYS], regeneration_id, Resend("no-such-mail"), WHY)
    assert f'"regeneration": "{regeneration_id}"' in capsys.readouterr().err


def test_decision_for_many_names_the_unknown_incident_and_goes_on_until_sql_changes_it(world: World) -> None:
    desk, ends = desk_of(world), []

    def tamper(result: object) -> None:
        change(world, "UPDATE staff_order SET state = 'refused' WHERE action = 'incident.decide-many'")
        ends.append(result)

    desk.on_progress = tamper
    unknown = (uuid7(NOW), uuid7(NOW))
    results = desk.order(DECIDE_MANY, "", BulkDecision("dismiss", False, unknown), WHY).results
    assert [one.end for one in results] == [DecisionStatus.REFUSED] * 2
    assert "no incident has this id" in results[0].why
    assert "is not used yet" in results[1].why
    assert ends == list(results)


# What does not fit its act


def submission_of(world: World, act: Act, fields: Fields, **values: JsonValue) -> Submission:
    """Return an order of these fields with other values among them; None leaves a field out."""
    context = context_of(world)
    made = draft(
        act, order_id=uuid7(NOW), installation=context.installation, subject="acme", fields=fields, reason=WHY,
        actor="ada", now=NOW, random_bytes=context.random_bytes,
    )  # fmt: skip
    changed = {name: value for name, value in {**made.order.fields, **values}.items() if value is not None}
    return Submission(replace(made.order, fields=changed).to_bytes().decode(), private=made.private)


UNFIT: Mapping[str, tuple[Act, Fields, dict[str, JsonValue], str]] = {
    "another act": (EXTEND, Extension(3), {}, "the order is about incident.extend, not incident.decide"),
    "a value of another type": (DECIDE, Decision("dismiss"), {"decision": 5}, "not those of incident.decide"),
    "a field too many": (DECIDE, Decision("dismiss"), {"more": 1}, "not those of incident.decide"),
    "a field too few": (DECIDE, Decision("dismiss"), {"leaked": None}, "not those of incident.decide"),
    "an invalid value": (DECIDE, Decision("dismiss"), {"decision": "forget"}, "decision must be one of"),
}


@pytest.mark.parametrize(("act", "fields", "values", "why"), UNFIT.values(), ids=UNFIT)
def test_order_that_does_not_fit_its_act_is_not_received(
    world: World, act: Act, fields: Fields, values: dict[str, JsonValue], why: str
) -> None:
    with pytest.raises(RefusedError, match=why):
        perform(context_of(world), DECIDE, submission_of(world, act, fields, **values), Unproven())
    assert states(world) == []


@pytest.mark.parametrize(
    ("private", "why"),
    [
        ({}, "private fields are not those of its action"),
        ({"contact_email_address": ("00", "eve@b.example")}, "does not match the order's commitment"),
    ],
)
def test_order_without_its_private_fields_is_not_received(
    world: World, private: dict[str, tuple[str, JsonValue]], why: str
) -> None:
    submission = replace(submission_of(world, CHANGE_ACCOUNT, ContactAddress("a@b.example")), private=private)
    with pytest.raises(RefusedError, match=why):
        perform(context_of(world), CHANGE_ACCOUNT, submission, Unproven())
    assert states(world) == []


def test_order_whose_private_fields_sql_has_changed_is_not_carried_out(world: World) -> None:
    keys, fields, order_id = world.register(), ContactAddress("new@acme.example"), uuid7(NOW)
    desk_of(world, order_id).hand_in(CHANGE_ACCOUNT, keys.account_id, fields, WHY)
    change(world, "UPDATE staff_order SET private = replace(private, 'new@acme', 'eve@acme')")
    with pytest.raises(RefusedError, match="does not match the order's commitment"):
        desk_of(world, order_id).order(CHANGE_ACCOUNT, keys.account_id, fields, WHY)
    assert states(world) == [("accounts.change", "received")]
    assert world.rows("SELECT contact_email_address FROM account") != [("eve@acme.example",)]


def test_repeat_of_an_order_with_private_fields_is_refused_once_its_output_is_gone(world: World) -> None:
    keys, fields, order_id = world.register(), ContactAddress("new@acme.example"), uuid7(NOW)
    done = desk_of(world, order_id).order(CHANGE_ACCOUNT, keys.account_id, fields, WHY)
    assert desk_of(world, order_id).order(CHANGE_ACCOUNT, keys.account_id, fields, WHY) == done
    change(world, "UPDATE staff_order SET output = ''")
    with pytest.raises(RefusedError, match="was used already"):
        desk_of(world, order_id).order(CHANGE_ACCOUNT, keys.account_id, fields, WHY)


# Imports whose file comes with the order, as through the staff API

FILE = base64.b64encode(as_csv(person(1))).decode()


def test_import_checks_the_file_that_comes_with_the_query(world: World) -> None:
    found = desk_of(world).read(CHECK_IMPORT, CheckImport(False, FILE))
    assert (found.report.pairs, found.refusal) == (1, None)


@pytest.mark.parametrize(
    ("content", "why"), [(FILE, "is not the one that the order is about"), ("é", "the file is not in Base64")]
)
def test_import_of_another_file_than_the_ordered_one_is_refused(world: World, content: str, why: str) -> None:
    with pytest.raises(InvalidInputError, match=why):
        desk_of(world).order(IMPORT, "", Import("0" * 64, False, content), WHY)
    assert states(world) == [("keys.import", "refused")]
    assert world.rows("SELECT COUNT(*) FROM key_pair") == [(0,)]


# Who acts


def test_installation_without_staff_keys_has_no_staff(world: World) -> None:
    with pytest.raises(ConfigurationError, match="OCTY_STAFF_KEYS is not set, so there is no staff"):
        desk_of(world).read(LIST_STAFF, ListStaff())


def test_disabled_staff_is_listed_on_request_and_gets_no_new_factor(world: World, tmp_path: Path) -> None:
    rig = StaffRig(world, StaffKeys.make(tmp_path), NOW)
    variables = {"OCTY_STAFF_AUTH": "on", "OCTY_STAFF_KEYS": rig.staff_keys.export()}
    context = StaffContext(world.database, {**variables, "OCTY_STAFF_CA_KEYS": rig.keys.authority.public})
    with world.database.write_session() as session:
        rig.members.change(session, "vic", granted_by=BOOTSTRAP, now=NOW, state=StaffState.DISABLED)
    listed, everybody = (LIST_STAFF.run(context, ListStaff(disabled)).rows for disabled in (False, True))
    assert [line.handle for line in everybody if line not in listed] == ["vic"]
    with (
        pytest.raises(RefusedError, match="vic is disabled → `octy staff add`"),
        world.database.write_session() as session,
    ):
        Membership(context.access, "").reset_factors(session, "vic", granted_by=BOOTSTRAP, by="amy", now=NOW)


def test_user_without_a_name_is_called_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getuid", lambda: 4_000_000_000)
    assert actor.login_name() == "uid-4000000000"
