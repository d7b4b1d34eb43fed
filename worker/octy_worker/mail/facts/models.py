"""What each kind of letter tells, as values.

Here: names and types; `kind` is also the folder of the letter's templates. Not here: where facts come from (the other
modules of this package), sentences (`templates`).

Text from outside enters as `MailText` only.
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
    """One source of failed attempts, and the client that it last claimed to be."""

    source: MailText
    count: int
    user_agent: MailText


@dataclass(frozen=True, slots=True)
class LateUseLine:
    """A retired pair that is still sent with its own secret, by whom, and when last (None: long ago)."""

    public_key: MailText
    source: MailText
    user_agent: MailText
    count: int
    last_at: datetime | None


@dataclass(frozen=True, slots=True)
class OtherKey:
    """A further key of the account that an alert names, with its own incident and link."""

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
    """What an alert or reminder tells. `network` is that of the streak when the source rule opened the case.

    `window`: seconds in which the `streak` failures came, with right requests between them, when the third rule did.

    `plot`: the attempts over time; None when their counts are kept no more. Not `sources_complete`: `other_sources` is
    a lower bound, for there were more sources than are kept by name.

    `others`: further keys whose alerts this mail carries. Each is named with its link, or its owner never hears of it.
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
        """How many keys this mail names."""
        return 1 + len(self.others)


@dataclass(frozen=True, slots=True)
class NewKeysFacts:
    """What the mail with a collection link tells. No old key: it is the customer's first pair."""

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
    """What the mail with the new keys themselves tells. The secret shows itself in the letter only.

    No secret: it is no longer there, and this mail will not be written.
    """

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
    """One source that is still let in with the old pair, and the client that it last claimed to be."""

    source: MailText
    count: int
    user_agent: MailText
    last_minute: datetime


@dataclass(frozen=True, slots=True)
class StillUsedFacts:
    """What the mail about an old pair that is still in use tells, shortly before its end."""

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
    """What the mail about the end of an old pair tells. The new pair has a key, and a first use or none, or is none."""

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
    """What the mail about a pair that came over plain HTTP tells."""

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
    """What the mail about pairs that an import has added tells: the first public keys, and how many there are."""

    kind: ClassVar[MailKind] = MailKind.KEYS_ADDED
    notice_id: str
    public_keys: tuple[MailText, ...]
    count: int
    at: datetime
    name: MailText = field(repr=False)
    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ContactChangedFacts:
    """What the old contact address is told; security mails follow to the new one at `follows_at`.

    `by_staff`: support staff changed it, not somebody with the API keys.
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
    """What the new contact address is told. It may be a stranger's or a thief's: no link, no name, no address."""

    kind: ClassVar[MailKind] = MailKind.NEW_CONTACT
    notice_id: str
    at: datetime
    follows_at: datetime
    name: ClassVar[str] = ""


@dataclass(frozen=True, slots=True)
class WebhookChangedFacts:
    """What a changed webhook URL is told with. No URL: it may hold a password."""

    kind: ClassVar[MailKind] = MailKind.WEBHOOK_CHANGED
    notice_id: str
    at: datetime
    name: MailText = field(repr=False)
    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AccountNoticeFacts:
    """What the account's other addresses get beside a mail that went to the security address.

    `about` is that mail's kind, `subject_id` its incident or notice. Each may be a stranger's or a thief's: no link, no
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
