"""`octy` reports the progress of new keys: rejected mails, expired links, collected keys."""

import re
import time

import pytest
from support.cli_rig import Octy, octy_for
from support.staff_acts import answering
from support.world import World

from octy_middleware.clock import utc
from octy_middleware.db.models import Mail
from octy_middleware.states import MailState
from octy_worker.cli import keys
from octy_worker.cli.views.key_delivery import joined_lines
from octy_worker.domain import regenerations
from octy_worker.reports.key_delivery import DeliveryStatus, KeyDelivery
from octy_worker.staff.outputs import NewLink

pytestmark = pytest.mark.usefixtures("no_system_log")

WHY = ("--reason", "ticket 4711")
ADD = ("accounts", "add", "--reference", "acme", "--email", "mistyped@acme.example")
REGENERATE = ("keys", "regenerate", "--account", "acme", *WHY)
RESEND = ("keys", "resend", "--account", "acme", *WHY)
LINK_LIFE = 86_400.0


@pytest.fixture
def octy(world: World) -> Octy:
    return octy_for(world)


@pytest.fixture
def first_keys(octy: Octy) -> str:
    """The id of the regeneration that delivers a new account's first keys."""
    return str(octy(*ADD, "--json").must().json["regeneration_id"])


def issue(world: World, regeneration_id: str, *, issued: float | None = None) -> None:
    """Make the key pair and its link, as the workflow does."""
    now = time.time() if issued is None else issued
    with world.database.write_session() as session:
        regenerations.issue_key_pair(session, world.hasher, world.sealer, regeneration_id, ttl=LINK_LIFE, now=now)
        session.flush()
        regenerations.activate(session, regeneration_id, now)


def note_mail(world: World, regeneration_id: str, state: MailState, error: str = "", *, number: int = 1) -> None:
    key = f"{regeneration_id}/new_keys/{number}"
    [(account_id,)] = world.rows("SELECT account_id FROM regeneration WHERE id = :id", id=regeneration_id)
    with world.database.write_session() as session:
        session.add(
            Mail(
                key=key,
                account_id=account_id,
                kind="new_keys",
                message_id=f"<{key}>",
                state=state,
                delivery_attempts=1,
                last_error=error,
                created_at=utc(time.time()),
            )
        )


def test_regenerate_reports_new_keys_whose_mail_was_rejected_permanently(world, octy, first_keys):
    issue(world, first_keys)
    note_mail(world, first_keys, MailState.FAILED, "rcpt-550")
    said = octy(*REGENERATE).must().stdout
    assert "being sent" not in said
    assert "Their mail was rejected for good (rcpt-550): the customer did not get it" in said
    assert "octy accounts change acme --email" in said
    assert "octy keys resend --account acme" in said
    told = octy(*REGENERATE, "--json").must().json
    assert (told["joined"], told["delivery"]["status"]) == (True, DeliveryStatus.REFUSED)
    assert told["delivery"]["mail_error"] == "rcpt-550"


def test_accounts_add_of_an_account_whose_mail_was_rejected_says_what_to_do(world, octy, first_keys):
    issue(world, first_keys)
    note_mail(world, first_keys, MailState.FAILED, "rcpt-550")
    said = octy(*ADD).must(2).stderr
    assert "exists already, and the mail with its keys was rejected for good (rcpt-550)" in said
    assert "octy accounts change acme --email" in said
    assert "octy keys resend --account acme" in said


@pytest.mark.parametrize(
    ("state", "error", "age", "status", "said"),
    [
        (None, "", 0.0, "preparing", "are being sent already"),
        (MailState.PENDING, "", 0.0, "retrying", "are being sent already"),
        (MailState.PENDING, "rcpt-450", 0.0, "retrying", "The mail server has not accepted their mail yet (rcpt-450)"),
        (MailState.SENT, "", 0.0, "mailed", "are being sent already"),
        (MailState.SENT, "", LINK_LIFE + 1, "expired", "Their link has expired"),
    ],
)
def test_regenerate_reports_the_progress_of_keys_ordered_before(
    world, octy, first_keys, *, state, error, age, status, said
):
    issue(world, first_keys, issued=time.time() - age)
    if state is not None:
        note_mail(world, first_keys, state, error)
    assert octy(*REGENERATE, "--json").must().json["delivery"]["status"] == status
    assert said in octy(*REGENERATE).must().stdout


def test_keys_that_were_collected_meanwhile_are_told_without_a_mail():
    """The customer may collect them between the order and the look at their delivery."""
    collected = KeyDelivery("0199", DeliveryStatus.COLLECTED, "", None, utc(0))
    [line] = joined_lines("acme", collected)
    assert line.endswith("The customer collected them at 1970-01-01 00:00:00Z: no mail is sent.")


@pytest.mark.parametrize("changed", [False, True])
def test_resend_says_where_the_link_goes_and_what_to_do(world, octy, first_keys, monkeypatch, changed):
    """The workflow's part is tried in `test_cli_decide`."""
    issue(world, first_keys)
    note_mail(world, first_keys, MailState.FAILED, "rcpt-550")
    monkeypatch.setattr("octy_worker.staff.decisions.resend_keys", answering(NewLink(2)))
    if changed:
        octy("accounts", "change", "acme", "--email", "right@acme.example", *WHY).must()
    said = octy(*RESEND).must().stdout
    assert "A new link to the new keys of acme is sent to mistyped@acme.example (mail new_keys-2)." in said
    assert ("on such mails go to right@acme.example: repeat this then." in said) is changed
    assert ("The previous mail was rejected for good (rcpt-550)." in said) is not changed


def test_mail_accepted_after_a_rejected_one_counts(world, octy, first_keys):
    issue(world, first_keys)
    note_mail(world, first_keys, MailState.FAILED, "rcpt-550", number=9)
    note_mail(world, first_keys, MailState.SENT, number=10)
    assert octy(*REGENERATE, "--json").must().json["delivery"]["status"] == DeliveryStatus.MAILED


def test_resend_of_collected_keys_names_the_command_for_new_ones(world, octy):
    world.register()
    done = octy(*RESEND).must(3)
    assert "the customer has collected the last ones, and a secret is shown once" in done.stderr
    assert "octy keys regenerate --account acme" in done.stderr


@pytest.mark.parametrize("reason", [" ", "call ada@acme.example", "it was sk_1abc"])
def test_resend_refuses_a_reason_that_cannot_be_kept(octy, first_keys, reason):
    done = octy("keys", "resend", "--account", "acme", "--reason", reason).must(3)
    assert "reason" in done.stderr


def test_resend_of_abandoned_keys_names_the_command_for_new_ones(world, octy, first_keys):
    issue(world, first_keys)
    with world.database.write_session() as session:
        regenerations.finish(session, first_keys, regenerations.RegenerationState.ABANDONED, time.time())
    done = octy(*RESEND).must(3)
    assert "the last ones were never collected and have ended" in done.stderr
    ordered = octy(*REGENERATE, "--json").must().json
    assert set(ordered) == set(re.sub(r"\{.*\}", "", keys.REGENERATE_JSON).split(", "))
    assert (ordered["joined"], ordered["old_public_key"]) == (False, None)


def test_resend_for_an_unknown_account_is_an_input_error(octy):
    assert "no account has the reference 'acme'" in octy(*RESEND).must(2).stderr
