"""The facts of each kind of mail, as dataclasses. `kind` is also the folder of its templates.

Untrusted text has the type `MailText`, which only `octy_worker.sanitize` returns.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from octy_middleware.http.credentials import Secret
from octy_worker.domain.histogram import Plot
from octy_worker.sanitize import MailText
from octy_workflows.messages import MailKind


@dataclass(frozen=True, slots=True)
class SourceLine:
    """One source of failed attempts, with its last user agent."""

    source: MailText
    count: int
    user_agent: MailText


@dataclass(frozen=True, slots=True)
class LateUseLine:
    """A retired key pair that is still sent with its correct secret. `last_at` None: long ago."""

    public_key: MailText
    source: MailText
    user_agent: MailText
    count: int
    last_at: datetime | None


@dataclass(frozen=True, slots=True)
class OtherKey:
    """Another key of the account in the same alert, with its own incident and link."""

    incident_id: str
    public_key: MailText
    streak: int
    total: int
    first_at: datetime
    opened_at: datetime
    network: MailText
    window: float | None
    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class IncidentFacts:
    """Facts of an alert or reminder.

    `network`: of the streak, when the source rule opened the incident; else empty. `window`: seconds in which the
    `streak` failures came, when the window rule opened it; else None. `plot`: attempts over time; None when the counts
    are deleted. `sources_complete` False: `other_sources` is a lower bound, because not all sources are stored.
    `others`: more keys whose alerts this mail carries; each must be shown with its link.
    """

    kind: MailKind
    incident_id: str
    public_key: MailText
    streak: int
    total: int
    first_at: datetime
    opened_at: datetime
    last_at: datetime
    network: MailText
    window: float | None
    plot: Plot | None
    sources: tuple[SourceLine, ...]
    other_sources: int
    other_count: int
    sources_complete: bool
    late_uses: tuple[LateUseLine, ...]
    request_id: MailText
    name: MailText = field(repr=False)
    url: str = field(repr=False)
    others: tuple[OtherKey, ...] = ()

    @property
    def keys(self) -> int:
        """Number of keys in this mail."""
        return 1 + len(self.others)


@dataclass(frozen=True, slots=True)
class NewKeysFacts:
    """Facts of the mail with the link to new keys. No old key: it is the customer's first key pair."""

    kind: ClassVar[MailKind] = MailKind.NEW_KEYS
    regeneration_id: str
    public_key: MailText
    old_public_key: MailText | None
    leaked: bool
    resent: bool
    expires_at: datetime
    name: MailText = field(repr=False)
    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeysInsideFacts:
    """Facts of the mail that contains the new keys. No secret: it is deleted, and the mail is obsolete."""

    kind: ClassVar[MailKind] = MailKind.NEW_KEYS_INSIDE
    regeneration_id: str
    public_key: MailText
    old_public_key: MailText | None
    leaked: bool
    resent: bool
    name: MailText = field(repr=False)
    secret: Secret | None


@dataclass(frozen=True, slots=True)
class UseLine:
    """One source that still uses the old key pair, with its last user agent."""

    source: MailText
    count: int
    user_agent: MailText
    last_minute: datetime


@dataclass(frozen=True, slots=True)
class StillUsedFacts:
    """Facts of the mail that an old key pair is still in use shortly before its end."""

    kind: ClassVar[MailKind] = MailKind.STILL_USED
    regeneration_id: str
    public_key: MailText
    new_public_key: MailText
    collected_at: datetime
    ends_at: datetime
    new_first_used_at: datetime | None
    total: int
    uses: tuple[UseLine, ...]
    other_sources: int
    other_count: int
    name: MailText = field(repr=False)


@dataclass(frozen=True, slots=True)
class RetiredFacts:
    """Facts of the mail that an old key pair has ended. There may be no new key pair, or none that was used."""

    kind: ClassVar[MailKind] = MailKind.KEYS_RETIRED
    regeneration_id: str
    public_key: MailText
    new_public_key: MailText | None
    new_first_used_at: datetime | None
    leaked: bool
    retired_at: datetime
    last_used_at: datetime | None
    name: MailText = field(repr=False)


@dataclass(frozen=True, slots=True)
class ExposedFacts:
    """Facts of the mail that a key pair was sent over plain HTTP."""

    kind: ClassVar[MailKind] = MailKind.EXPOSED
    notice_id: str
    public_key: MailText
    at: datetime
    source: MailText
    user_agent: MailText
    request_id: MailText
    name: MailText = field(repr=False)
    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeysAddedFacts:
    """Facts of the mail that an import added key pairs: the first public keys, and the number of all."""

    kind: ClassVar[MailKind] = MailKind.KEYS_ADDED
    notice_id: str
    public_keys: tuple[MailText, ...]
    count: int
    at: datetime
    name: MailText = field(repr=False)
    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ContactChangedFacts:
    """Facts of the mail to the old contact address. Security mails go to the new one from `follows_at`.

    `by_staff`: support staff changed it, not a request with the API keys.
    """

    kind: ClassVar[MailKind] = MailKind.CONTACT_CHANGED
    notice_id: str
    at: datetime
    follows_at: datetime
    by_staff: bool
    new_address: MailText = field(repr=False)
    name: MailText = field(repr=False)
    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewContactFacts:
    """Facts of the mail to the new contact address. It may belong to an attacker: no link, no name, no address."""

    kind: ClassVar[MailKind] = MailKind.NEW_CONTACT
    notice_id: str
    at: datetime
    follows_at: datetime
    name: ClassVar[str] = ""


@dataclass(frozen=True, slots=True)
class WebhookChangedFacts:
    """Facts of the mail that the webhook URL was changed. Without the URL, which may contain a password."""

    kind: ClassVar[MailKind] = MailKind.WEBHOOK_CHANGED
    notice_id: str
    at: datetime
    name: MailText = field(repr=False)
    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AccountNoticeFacts:
    """Facts of the notice to the account's other addresses, sent with a mail to the security address.

    `about` is that mail's kind, `subject_id` its incident or notice. The address may belong to an attacker: no link, no
    name, no address, no key.
    """

    kind: ClassVar[MailKind] = MailKind.ACCOUNT_NOTICE
    about: MailKind
    subject_id: str
    at: datetime
    name: ClassVar[str] = ""


Facts = (
    IncidentFacts
    | NewKeysFacts
    | KeysInsideFacts
    | StillUsedFacts
    | RetiredFacts
    | ExposedFacts
    | KeysAddedFacts
    | ContactChangedFacts
    | NewContactFacts
    | WebhookChangedFacts
    | AccountNoticeFacts
)
