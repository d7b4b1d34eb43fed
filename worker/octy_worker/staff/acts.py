"""Everything that staff can order: actions and fields. What they return: `outputs`.

An order's subject is the id that the act is about.
"""

from dataclasses import dataclass
from typing import Any

from octy_worker.access.roles import Action
from octy_worker.staff.member_operations import MEMBER_ACTS
from octy_worker.staff.operations import Act, Fields, NoFields
from octy_worker.staff.outputs import (
    AmendmentResult,
    Approved,
    BulkResult,
    ContactChangeResult,
    Done,
    ErasedAccount,
    EvidencePack,
    ImportOutput,
    NewLink,
    OrderedKeys,
    RegistrationResult,
    ReleasedHold,
    RetriedMessages,
    RetriedWebhooks,
    RevocationResult,
    RotatedSecret,
    WebhookSecret,
    WebhookTest,
)
from octy_workflows.messages import ExtendedDeadlines, ResendResult
from octy_workflows.order_content import StaffDecision, StaffExtension, StaffResend

_ANY = "any"  # actor and reason are checked with the order


@dataclass(frozen=True, slots=True)
class Decision(Fields):
    """Fields of `incident.decide`. `decision`: a `Choice`."""

    decision: str
    leaked: bool = False

    def error(self) -> str | None:
        """Return why they are invalid, or None."""
        return StaffDecision(self.decision, _ANY, _ANY, self.leaked).error()


@dataclass(frozen=True, slots=True)
class BulkDecision(Fields):
    """Fields of `incident.decide-many`: one decision for these incidents."""

    decision: str
    leaked: bool
    incidents: tuple[str, ...]

    def error(self) -> str | None:
        """Return why they are invalid, or None."""
        return Decision(self.decision, self.leaked).error()


@dataclass(frozen=True, slots=True)
class Extension(Fields):
    """Fields of `incident.extend`: by how many days."""

    days: int

    def error(self) -> str | None:
        """Return why they are invalid, or None."""
        return StaffExtension(self.days, _ANY, _ANY).error()


@dataclass(frozen=True, slots=True)
class Resend(Fields):
    """Fields of `incident.resend` and `keys.resend`. `kind`: one of `RESENDABLE`; empty: the last mail."""

    kind: str = ""

    def error(self) -> str | None:
        """Return why they are invalid, or None."""
        return StaffResend(_ANY, _ANY, self.kind).error()


@dataclass(frozen=True, slots=True)
class NewAnswer(Fields):
    """Fields of `incident.amend`. `answer`: a `Choice`."""

    answer: str
    leaked: bool = False

    def error(self) -> str | None:
        """Return why they are invalid, or None."""
        fault = StaffDecision(self.answer, _ANY, _ANY).error()
        return fault and fault.replace("decision must", "answer must")


@dataclass(frozen=True, slots=True)
class Import(Fields):
    """Fields of `keys.import`. `rows_sha256`: of the file's rows. `content`: the file in Base64; empty on the host."""

    rows_sha256: str
    into_existing: bool
    content: str


@dataclass(frozen=True, slots=True)
class Approval(Fields):
    """Fields of `order.approve`: the SHA-256 of the approved order's bytes, in hex."""

    digest: str


@dataclass(frozen=True, slots=True)
class Messages(Fields):
    """Fields of `outbox.retry`: ids of dead letters; None: all."""

    ids: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Webhooks(Fields):
    """Fields of `webhooks.retry`: ids of webhooks."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NewAccount(Fields):
    """Fields of `accounts.add`; all of them are private."""

    reference: str
    contact_email_address: str
    contact_name: str = ""
    contact_surname: str = ""
    webhook_url: str = ""
    authenticated_id_key: str = ""

    def contact(self) -> dict[str, str]:
        """Return the contact data."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "reference"}


@dataclass(frozen=True, slots=True)
class ContactAddress(Fields):
    """Fields of `accounts.change`; the address is private."""

    contact_email_address: str


@dataclass(frozen=True, slots=True)
class NewKeys(Fields):
    """Fields of `keys.regenerate`."""

    leaked: bool = False


_STAFF = "octy_worker.staff"
_DECISIONS = "octy_worker.staff.decisions"
_REFUSED = f"{_STAFF}.refusals:record_refusal"

DECIDE = Act(Action.DECIDE, Decision, Done, f"{_DECISIONS}:decide", resumes=True, on_refusal=_REFUSED)
"""Subject: the incident's id."""
DECIDE_MANY = Act(Action.DECIDE_MANY, BulkDecision, BulkResult, f"{_STAFF}.bulk_decisions:decide_many", resumes=True)
"""Subject: none."""
EXTEND = Act(Action.EXTEND, Extension, ExtendedDeadlines, f"{_DECISIONS}:extend", resumes=True, on_refusal=_REFUSED)
"""Subject: the incident's id."""
RESEND = Act(Action.RESEND, Resend, ResendResult, f"{_DECISIONS}:resend", resumes=True, on_refusal=_REFUSED)
"""Subject: the incident's id."""
RESEND_KEYS = Act(Action.RESEND_KEYS, Resend, NewLink, f"{_DECISIONS}:resend_keys", resumes=True, on_refusal=_REFUSED)
"""Subject: the regeneration's id."""
EXPORT = Act(Action.EXPORT_AUDIT, NoFields, EvidencePack, f"{_STAFF}.audit_exports:export", for_author=True)
"""Subject: the incident's id."""
AMEND = Act(Action.AMEND, NewAnswer, AmendmentResult, f"{_STAFF}.amendments:amend", on_refusal=_REFUSED)
"""Subject: the incident's id."""
RELEASE_ALERTS = Act(Action.RELEASE_ALERTS, NoFields, ReleasedHold, f"{_STAFF}.alerts:release_alerts")
"""Subject: none."""
RETRY_OUTBOX = Act(Action.RETRY_OUTBOX, Messages, RetriedMessages, f"{_STAFF}.outbox:retry_messages")
"""Subject: none."""
ADD_ACCOUNT = Act(
    Action.ADD_ACCOUNT,
    NewAccount,
    RegistrationResult,
    f"{_STAFF}.registration:add_account",
    private=frozenset(NewAccount.__slots__),
)
"""Subject: none; the id is not known before."""
CHANGE_ACCOUNT = Act(
    Action.CHANGE_ACCOUNT,
    ContactAddress,
    ContactChangeResult,
    f"{_STAFF}.account_changes:change_contact_address",
    private=frozenset(ContactAddress.__slots__),
)
"""Subject of this and all that follow but `RETRY_WEBHOOKS` and `REVOKE`: the account's id."""
REGENERATE = Act(Action.REGENERATE, NewKeys, OrderedKeys, f"{_STAFF}.key_orders:order_new_keys")
REVOKE = Act(Action.REVOKE, NoFields, RevocationResult, f"{_STAFF}.key_orders:revoke_key_pair")
"""Subject: the public key."""
RETRY_WEBHOOKS = Act(Action.RETRY_WEBHOOKS, Webhooks, RetriedWebhooks, f"{_STAFF}.webhooks:retry")
"""Subject: none."""
SHOW_WEBHOOK_SECRET = Act(
    Action.SHOW_WEBHOOK_SECRET, NoFields, WebhookSecret, f"{_STAFF}.webhooks:reveal_secret", for_author=True
)
ROTATE_WEBHOOK_SECRET = Act(Action.ROTATE_WEBHOOK_SECRET, NoFields, RotatedSecret, f"{_STAFF}.webhooks:rotate_secret")
TEST_WEBHOOK = Act(Action.TEST_WEBHOOK, NoFields, WebhookTest, f"{_STAFF}.webhooks:send_test_event")

IMPORT = Act(
    Action.IMPORT,
    Import,
    ImportOutput,
    f"{_STAFF}.key_imports:import_pairs",
    private=frozenset({"content"}),
    for_author=True,
)
"""Subject: none."""
APPROVE = Act(Action.APPROVE, Approval, Approved, f"{_STAFF}.approvals:approve", resumes=True)
"""Subject: the id of the order that waits."""
ERASE = Act(Action.ERASE_ACCOUNT, NoFields, ErasedAccount, f"{_STAFF}.account_erasure:erase")
ACKNOWLEDGE = Act(Action.ACKNOWLEDGE, NoFields, Done, f"{_STAFF}.approvals:acknowledge")
"""Subject: the id of an order by break glass."""

_ALL: tuple[Act[Any, Any], ...] = (
    *(DECIDE, DECIDE_MANY, EXTEND, RESEND, RESEND_KEYS, AMEND, RELEASE_ALERTS, RETRY_OUTBOX),
    *(ADD_ACCOUNT, CHANGE_ACCOUNT, ERASE, REGENERATE, REVOKE),
    *(RETRY_WEBHOOKS, SHOW_WEBHOOK_SECRET, ROTATE_WEBHOOK_SECRET, TEST_WEBHOOK),
    *(EXPORT, IMPORT, APPROVE, ACKNOWLEDGE),
    *MEMBER_ACTS,
)
ACTS: dict[Action, Act[Any, Any]] = {act.action: act for act in _ALL}
"""All acts by action."""
