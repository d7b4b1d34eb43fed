"""The worker's settings: the middleware's own, and what only the worker knows.

Here: names, defaults with their units, checks. Not here: clients and connections made from them (`daemon`).
"""

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from octy_middleware._version import __version__ as RELEASE  # noqa: N812  # a constant
from octy_middleware.addresses import normalize_mail_address
from octy_middleware.loopback import is_loopback
from octy_middleware.settings import BaseSettings, Keys
from octy_worker.temporal_connection import TemporalSettings
from octy_workflows.messages import DAY, HOUR, DeliveryMethod, IncidentTimes, RegenerationTimes


def _seconds(value: object) -> object:
    return tuple(float(part) for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _networks(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _base_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise ValueError("needs the form https://host[/path]")
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ValueError("links and new secrets would travel in clear; use an https:// address")
    return value.rstrip("/")


def _mail_address(value: str) -> str:
    """Return an address as it goes over SMTP; none is fine. The fault does not repeat it."""
    address = normalize_mail_address(value) if value else ""
    if address is None:
        raise ValueError("needs a mail address, or nothing")
    return address


Time = Annotated[float, Field(ge=0)]
Times = Annotated[tuple[Time, ...], BeforeValidator(_seconds)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_networks)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
CodecUrl = Annotated[str, AfterValidator(lambda value: value if value == "none" else _base_url(value))]
Colour = Annotated[str, Field(pattern=r"^#[0-9A-Fa-f]{6}$")]
Language = Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$")]
DigestAddress = Annotated[str, AfterValidator(_mail_address)]


class RetentionSettings(BaseSettings):
    """How long what is kept, and that part of the worker's settings which tells what may go."""

    keep_attempts_days: int = Field(default=90, ge=1, le=36_500)  # refused attempts in detail
    keep_counters_days: int = Field(default=400, ge=31, le=36_500)  # exact counts; reports look 30 days back
    compact_counters_after_days: int = Field(default=35, ge=31, le=36_500)  # older ones are kept by the UTC day
    collect_abandon_after: Time = 14 * DAY


class WebhookSettings(BaseSettings):
    """How webhooks are signed and where they may go: that part of the worker's settings which `octy webhooks` needs."""

    webhook_keys: Keys | None = None  # each account's secret is derived from these; not set: webhooks are off
    webhook_timeout: float = Field(default=10.0, gt=0, le=30)  # of one try, from the name's look-up to the answer
    webhook_retry_period: float = Field(default=3 * DAY, ge=60)  # tried for so long, after 1 s, 2 s, 4 s … at most 1 h
    webhook_ca_file: str = ""  # extra authority to trust, a PEM file; empty: the system's own
    webhook_allow_http: bool = False  # for development only
    webhook_allow_private: bool = False  # private addresses, any port: where customers sit in the same intranet


class WorkerSettings(RetentionSettings, WebhookSettings, TemporalSettings):
    """What a worker host needs. Times are seconds unless the name says otherwise."""

    database_url: str = Field(default="sqlite:///octy.db", repr=False)  # it may hold a password
    peppers: Keys
    sealing_keys: Keys  # seal new secrets until they are collected (AES-256-GCM)
    link_keys: Keys  # make and check the links of mails (HMAC-SHA-256)
    threshold: int = Field(default=20, ge=2, le=10_000)

    temporal_task_queue: str = "octy"  # queue names begin with it and the installation's id
    temporal_keys: Keys | None = None  # encrypt what workflows hear and say (AES-256-GCM); none: readable to Temporal
    codec_url: CodecUrl = "http://127.0.0.1:8081"  # where who reads payloads reaches `octy codec-server`; none: nobody
    temporal_deployment: str = Field(default="", pattern=r"^[^.:]{0,200}$")  # its name switches worker versioning on
    temporal_build_id: str = Field(default=RELEASE, max_length=200)  # which version of the deployment this worker is
    temporal_search_attributes: Literal["auto", "off"] = "auto"  # off: where no worker may make them known
    relay_poll_interval: float = Field(
        default=1.0, gt=0, le=60
    )  # between two looks at an outbox whose alarm says nothing
    relay_concurrency: int = Field(default=8, ge=1, le=100)  # alerts at a time; a quarter as many notices a second
    relay_lease: float = Field(default=30.0, ge=10, le=3600)  # after that others take what a killed worker had claimed

    smtp_host: str = "127.0.0.1"
    smtp_port: int = Field(default=587, ge=1, le=65_535)
    smtp_security: Literal["starttls", "tls"] = "starttls"  # verified either way; mail in clear is no option
    smtp_user: str = ""
    smtp_password: SecretStr = SecretStr("")
    smtp_ca_file: str = ""  # extra authority to trust, a PEM file; empty: the system's own
    smtp_timeout: float = Field(default=10.0, gt=0, le=15)  # of a step; two copies of a mail must fit into one try
    mail_from: str = "Octy Security <security@octy.invalid>"
    mail_daily_cap: int = Field(default=3, ge=1)  # reminders and notices an account and day; alerts have no cap
    alert_join_window: float = Field(default=300.0, ge=0, le=300)  # later alerts of an account join so long; 0: none
    mail_templates: str = ""  # a folder whose files win over our templates; `octy mail preview --help` tells which
    mail_language: Language = "en"  # its folder of that name is looked into first; also the language that mails claim
    mail_accent_colour: Colour = "#1f4fd8"  # buttons and links
    mail_alert_colour: Colour = "#c2410c"  # what is about wrong attempts
    mail_calm_colour: Colour = "#2e7d4f"  # its opposite
    dkim_domain: str = ""  # these three together sign every mail; `octy mail record` prints the entry for the DNS
    dkim_selector: str = ""
    dkim_private_key_file: str = ""  # PEM, RSA or Ed25519
    product_name: str = "Octy"
    support_contact: str = "support@octy.invalid"

    public_url: BaseUrl = "http://127.0.0.1:8025"  # where customers reach the pages, as written in mails
    pages_host: str = "127.0.0.1"
    pages_port: int = Field(default=8025, ge=0, le=65_535)
    pages_certificate: str = ""  # PEM files; empty: plain HTTP, behind a proxy that ends TLS
    pages_private_key: str = ""
    pages_max_connections: int = Field(default=256, ge=8, le=100_000)  # each takes up to 0.3 MB while TLS is ours
    pages_max_connections_per_address: int = Field(default=32, ge=1, le=100_000)  # an IPv4 address, a /64 of IPv6
    pages_proxies: Networks = ()  # peers without that limit, since they speak for many; without a certificate: all

    incident_remind_after: Times = (DAY, 3 * DAY)
    incident_staff_after: Time = 7 * DAY
    incident_close_after: Time = 14 * DAY
    alert_link_grace_period: Time = 7 * DAY  # the alert's link shows a closed case for so long
    regenerate_on_silence: bool = False
    quiet_after_false_alarm: Time = DAY
    reveal_link_ttl: Time = DAY  # a one-time link; re-sent links get a fresh life
    deliver: DeliveryMethod = DeliveryMethod.LINK  # "mail": the new secret stands in the mail itself
    overlap: Time = DAY  # old pair lives on after the new secret was collected
    overlap_warn_before: Time = 6 * HOUR  # its end, a mail says that the old pair is still in use; 0: none
    resend_after: Times = (DAY, 3 * DAY)
    collect_staff_after: Time = 7 * DAY  # and given up after `collect_abandon_after`

    retention_interval: float = Field(default=DAY, ge=60)  # between two runs that drop what is past its time
    reconcile_interval: float = Field(default=HOUR, ge=60)  # between two comparisons of SQL with Temporal
    support_digest_to: DigestAddress = Field(default="", repr=False)  # who reads once a day what waits; empty: nobody
    support_digest_hour: int = Field(default=6, ge=0, le=23)  # UTC

    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(default=0, ge=0, le=65_535)  # Prometheus reads /metrics there; 0: not served
    metrics_sdk_port: int = Field(default=0, ge=0, le=65_535)  # the Temporal SDK's own, without limits; 0: not served
    tracing: bool = False  # spans by OpenTelemetry; where they go, OTEL_* variables say

    @property
    def incident_times(self) -> IncidentTimes:
        """The waits of a case, in the workflow's own words."""
        return IncidentTimes(
            remind_after=self.incident_remind_after,
            staff_after=self.incident_staff_after,
            close_after=self.incident_close_after,
            regenerate_on_silence=self.regenerate_on_silence,
        )

    @property
    def regeneration_times(self) -> RegenerationTimes:
        """The waits of a regeneration, in the workflow's own words."""
        return RegenerationTimes(
            overlap=self.overlap,
            resend_after=self.resend_after,
            staff_after=self.collect_staff_after,
            abandon_after=self.collect_abandon_after,
            warn_before=self.overlap_warn_before,
        )
