"""Sample facts for every kind of mail: for previews, test mails and the check of templates.

Customers, keys and attempts are invented (addresses of RFC 5737, domains of RFC 2606). The first sample of a kind is
the one that is shown; the others cover the other branches of templates.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from math import exp
from typing import assert_never

from octy_middleware.clock import utc
from octy_middleware.http.credentials import Secret
from octy_worker.domain.histogram import Plot, plot_of
from octy_worker.mail.facts.models import (
    AccountNoticeFacts,
    ContactChangedFacts,
    ExposedFacts,
    Facts,
    IncidentFacts,
    KeysAddedFacts,
    KeysInsideFacts,
    LateUseLine,
    NewContactFacts,
    NewKeysFacts,
    OtherKey,
    RetiredFacts,
    SourceLine,
    StillUsedFacts,
    UseLine,
    WebhookChangedFacts,
)
from octy_worker.sanitize import MailText
from octy_workflows.messages import MailKind

_AT = utc(1_767_968_160)  # 2026-01-09 14:16:00 UTC
_ID = "01890c2e-0000-7000-8000-000000000001"
_OLD_KEY, _KEY = MailText("pk_SAMPLExOLDxPUBLICxKEYxSAMPLE"), MailText("pk_SAMPLExPUBLICxKEYxSAMPLExxx")
_NAME, _NO_NAME = MailText("Ada"), MailText("")
_DAY = timedelta(days=1)
COPIED_KINDS = (
    MailKind.ALERT,
    MailKind.REMINDER,
    MailKind.EXPOSED,
    MailKind.KEYS_ADDED,
    MailKind.CONTACT_CHANGED,
    MailKind.WEBHOOK_CHANGED,
)
"""Kinds of mail for which the account's other addresses get a notice."""
_OTHERS = 17  # attempts from sources that are not listed


def samples(kind: MailKind, site: str) -> tuple[Facts, ...]:  # noqa: C901, PLR0911  # a row for each kind
    """Return sample facts of this kind; `site` is the base URL of their links."""
    match kind:
        case MailKind.ALERT | MailKind.REMINDER:
            return _incidents(kind, site)
        case MailKind.NEW_KEYS:
            return _new_keys(site)
        case MailKind.NEW_KEYS_INSIDE:
            return _keys_inside()
        case MailKind.STILL_USED:
            return _still_used()
        case MailKind.KEYS_RETIRED:
            return _retired()
        case MailKind.EXPOSED:
            return _exposed(site)
        case MailKind.KEYS_ADDED:
            return _keys_added(site)
        case MailKind.CONTACT_CHANGED:
            return _contact_changed(site)
        case MailKind.NEW_CONTACT:
            return (NewContactFacts(_ID, _AT, _AT + 7 * _DAY),)
        case MailKind.WEBHOOK_CHANGED:
            full = WebhookChangedFacts(_ID, _AT, _NAME, f"{site}/notice/SAMPLE")
            return full, replace(full, name=_NO_NAME)
        case MailKind.ACCOUNT_NOTICE:
            return tuple(AccountNoticeFacts(about, _ID, _AT) for about in COPIED_KINDS)
        case unknown:  # pragma: no cover - there is no other kind
            assert_never(unknown)


def _incidents(kind: MailKind, site: str) -> tuple[Facts, ...]:
    plot, sources = _attempts()
    full = IncidentFacts(
        kind=kind,
        incident_id=_ID,
        public_key=_KEY,
        streak=20,
        total=sum(each.count for each in plot.bins),
        first_at=plot.bins[0].at,
        opened_at=_AT,
        last_at=plot.end,
        network=MailText("203.0.113.0/24"),
        window=None,
        plot=plot,
        sources=sources,
        other_sources=3,
        other_count=_OTHERS,
        sources_complete=True,
        late_uses=(_late(_AT - _DAY), _late(None)),
        request_id=MailText("req-7f3a9c1d"),
        name=_NAME,
        url=f"{site}/alert/SAMPLE",
    )
    bare = replace(
        full,
        network=MailText(""),
        plot=None,
        sources=(),
        other_sources=0,
        other_count=0,
        sources_complete=True,
        late_uses=(),
        request_id=MailText(""),
        name=_NO_NAME,
    )
    alone = (full, bare, replace(bare, window=2_400.0))
    return (*alone, replace(full, others=_other_keys(site))) if kind is MailKind.ALERT else alone


def _other_keys(site: str) -> tuple[OtherKey, ...]:
    first = OtherKey(
        incident_id=_ID[:-1] + "2",
        public_key=MailText("pk_SAMPLExOTHERxKEYxSAMPLExONE"),
        streak=20,
        total=23,
        first_at=_AT,
        opened_at=_AT + timedelta(minutes=1),
        network=MailText("203.0.113.0/24"),
        window=None,
        url=f"{site}/alert/SAMPLE-OTHER-ONE",
    )
    plain = replace(
        first,
        incident_id=_ID[:-1] + "3",
        public_key=MailText("pk_SAMPLExOTHERxKEYxSAMPLExTWO"),
        network=MailText(""),
        url=f"{site}/alert/SAMPLE-OTHER-TWO",
    )
    slow = replace(
        plain,
        incident_id=_ID[:-1] + "4",
        public_key=MailText("pk_SAMPLExOTHERxKEYxSAMPLExSLOW"),
        window=2_400.0,
        url=f"{site}/alert/SAMPLE-OTHER-SLOW",
    )
    return first, plain, slow


def _attempts() -> tuple[Plot, tuple[SourceLine, ...]]:
    """Return the plot and the sources of an attack of twenty minutes."""
    minutes = range(-6, 14)
    counts = [(_AT.timestamp() + 60 * n, round(24 * exp(-((n - 2) ** 2) / 14))) for n in minutes]
    plot = plot_of([*counts[:-1], (counts[-1][0], 1)], finest=60)
    assert plot is not None
    most = sum(each.count for each in plot.bins) - 31 - 9 - _OTHERS
    named = [
        ("203.0.113.7", most, "python-requests/2.31.0"),
        ("198.51.100.23", 31, "curl/8.5.0"),
        ("192.0.2.144", 9, ""),
    ]
    return plot, tuple(SourceLine(MailText(source), count, MailText(user_agent)) for source, count, user_agent in named)


def _late(last_at: datetime | None) -> LateUseLine:
    user_agent = MailText("nightly-export/2.1" if last_at else "")
    return LateUseLine(_OLD_KEY, MailText("192.0.2.80"), user_agent, 12 if last_at else 1, last_at)


def _new_keys(site: str) -> tuple[Facts, ...]:
    full = NewKeysFacts(
        regeneration_id=_ID,
        public_key=_KEY,
        old_public_key=_OLD_KEY,
        leaked=False,
        resent=False,
        expires_at=_AT + _DAY,
        name=_NAME,
        url=f"{site}/keys/SAMPLE",
    )
    return full, replace(full, leaked=True, resent=True), replace(full, old_public_key=None, name=_NO_NAME)


def _keys_inside() -> tuple[Facts, ...]:
    full = KeysInsideFacts(
        regeneration_id=_ID,
        public_key=_KEY,
        old_public_key=_OLD_KEY,
        leaked=False,
        resent=False,
        name=_NAME,
        secret=Secret("SAMPLE, a real one starts with sk_"),
    )
    return full, replace(full, leaked=True, resent=True), replace(full, old_public_key=None, name=_NO_NAME)


def _still_used() -> tuple[Facts, ...]:
    uses = (
        UseLine(MailText("192.0.2.80"), 1_204, MailText("nightly-export/2.1"), _AT - timedelta(minutes=4)),
        UseLine(MailText("198.51.100.23"), 7, MailText(""), _AT - timedelta(hours=3)),
    )
    full = StillUsedFacts(
        regeneration_id=_ID,
        public_key=_OLD_KEY,
        new_public_key=_KEY,
        collected_at=_AT - timedelta(hours=18),
        ends_at=_AT + timedelta(hours=6),
        new_first_used_at=_AT - timedelta(hours=17),
        total=sum(use.count for use in uses) + _OTHERS,
        uses=uses,
        other_sources=3,
        other_count=_OTHERS,
        name=_NAME,
    )
    return full, replace(full, new_first_used_at=None, other_sources=0, other_count=0, name=_NO_NAME)


def _retired() -> tuple[Facts, ...]:
    full = RetiredFacts(
        regeneration_id=_ID,
        public_key=_OLD_KEY,
        new_public_key=_KEY,
        new_first_used_at=_AT - timedelta(hours=17),
        leaked=False,
        retired_at=_AT,
        last_used_at=_AT - timedelta(hours=5),
        name=_NAME,
    )
    unused = replace(full, new_first_used_at=None)
    return full, unused, replace(unused, new_public_key=None, leaked=True, last_used_at=None, name=_NO_NAME)


def _exposed(site: str) -> tuple[Facts, ...]:
    full = ExposedFacts(
        notice_id=_ID,
        public_key=_KEY,
        at=_AT,
        source=MailText("192.0.2.80"),
        user_agent=MailText("nightly-export/2.1"),
        request_id=MailText("req-7f3a9c1d"),
        name=_NAME,
        url=f"{site}/notice/SAMPLE",
    )
    return full, replace(full, user_agent=MailText(""), request_id=MailText(""), name=_NO_NAME)


def _keys_added(site: str) -> tuple[Facts, ...]:
    full = KeysAddedFacts(
        notice_id=_ID, public_keys=(_KEY, _OLD_KEY), count=14, at=_AT, name=_NAME, url=f"{site}/notice/SAMPLE"
    )
    return full, replace(full, public_keys=(_KEY,), count=1, name=_NO_NAME)


def _contact_changed(site: str) -> tuple[Facts, ...]:
    full = ContactChangedFacts(
        notice_id=_ID,
        at=_AT,
        follows_at=_AT + 7 * _DAY,
        by_staff=False,
        new_address=MailText("ada[at]new[.]example"),
        name=_NAME,
        url=f"{site}/notice/SAMPLE",
    )
    return full, replace(full, follows_at=_AT + _DAY, by_staff=True, name=_NO_NAME)
