"""The settings of the worker: names, defaults with their units, checks."""

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from octy_middleware._version import __version__ as RELEASE  # noqa: N812  # a constant
from octy_middleware.addresses import normalize_mail_address
from octy_middleware.keys.keychain import Keychain
from octy_middleware.loopback import is_loopback
from octy_middleware.settings import BaseSettings, Keys, StringList, split_list
from octy_worker.temporal_connection import TemporalSettings
from octy_workflows.messages import DAY, HOUR, DeliveryMethod, IncidentTimes, RegenerationTimes


def _seconds(value: object) -> object:
    return tuple(float(part) for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _lines(value: object) -> object:
    """Split text at commas and line ends, as a list of public keys has them."""
    return split_list(value.replace("\n", ",")) if isinstance(value, str) else value


def _base_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise ValueError("needs the form https://host[/path]")
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ValueError("links and new secrets would travel in clear; use an https:// address")
    return value.rstrip("/")


def _mail_address(value: str) -> str:
    """Return the address as it is sent over SMTP; "" stays "". The error does not repeat it."""
    address = normalize_mail_address(value) if value else ""
    if address is None:
        raise ValueError("needs a mail address, or nothing")
    return address


KEY_SETTINGS = ("peppers", "sealing_keys", "link_keys", "webhook_keys", "temporal_keys", "staff_keys", "audit_keys")
"""The settings with keys of ours: `octy secrets` prints them, and the database has check values of each."""

Time = Annotated[float, Field(ge=0)]
Times = Annotated[tuple[Time, ...], BeforeValidator(_seconds)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(split_list)]
Lines = Annotated[tuple[str, ...], BeforeValidator(_lines)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
CodecUrl = Annotated[str, AfterValidator(lambda value: value if value == "none" else _base_url(value))]
OptionalUrl = Annotated[str, AfterValidator(lambda value: value and _base_url(value))]
Colour = Annotated[str, Field(pattern=r"^#[0-9A-Fa-f]{6}$")]
Language = Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$")]
DigestAddress = Annotated[str, AfterValidator(_mail_address)]


class RetentionSettings(BaseSettings):
    """The settings of retention: how long rows are kept."""

    keep_attempts_days: int = Field(default=90, ge=1, le=36_500)  # refused attempts in detail
    keep_counters_days: int = Field(default=400, ge=31, le=36_500)  # exact counts; reports look 30 days back
    compact_counters_after_days: int = Field(default=35, ge=31, le=36_500)  # older ones are kept by the UTC day
    collect_abandon_after: Time = 14 * DAY


class WebhookSettings(BaseSettings):
    """The settings of webhooks: signatures, retries, allowed addresses."""

    webhook_keys: Keys | None = None  # each account's secret is derived from these; not set: no webhooks
    webhook_timeout: float = Field(default=10.0, gt=0, le=30)  # of one try, from the DNS query to the response
    webhook_retry_period: float = Field(default=3 * DAY, ge=60)  # tried for so long, after 1 s, 2 s, 4 s … at most 1 h
    webhook_ca_file: str = ""  # extra authority to trust, a PEM file; empty: the system's own
    webhook_allow_http: bool = False  # for development only
    webhook_allow_private: bool = False  # private addresses, any port: where customers sit in the same intranet


class StaffSettings(TemporalSettings):
    """The settings of staff: who is trusted, and where the staff API is served. `access.staff_settings` builds on them.

    Commands that act read these alone. Database, Temporal and public URL are here because `staff_auth` may be off only
    where all three are on this machine.
    """

    database_url: str = Field(default="sqlite:///octy.db", repr=False)  # it may hold a password
    public_url: BaseUrl = "http://127.0.0.1:8025"  # where customers reach the pages; links in mails begin with it
    staff_auth: Literal["on", "off"] = "on"  # off: orders need no proof; for development on one machine
    staff_keys: Keys | None = None  # codes of rows that grant something (HMAC-SHA-256), and sealing of factors
    audit_keys: Keys | None = None  # sign checkpoints of the audit log (Ed25519)
    staff_ca_keys: Lines = ()  # public keys of the authorities whose certificates staff use
    staff_certificate_life: float = Field(default=16 * HOUR, ge=60, le=7 * DAY)  # the longest life of a certificate
    staff_revoked: StringList = ()  # serial:<number>, id:<key id>, SHA256:<fingerprint>
    four_eyes: StringList = ()  # actions that wait for a second person's approval
    staff_url: OptionalUrl = ""  # where staff reach the staff API; it is part of what they sign at a log-in
    staff_host: str = "127.0.0.1"
    staff_port: int = Field(default=0, ge=0, le=65_535)  # 0: the staff API is not served
    staff_certificate: str = ""  # PEM files; empty: plain HTTP, on loopback only
    staff_private_key: str = ""
    staff_proxies: StringList = ()  # proxies whose X-Forwarded-For is trusted: addresses, networks, "unix"


class TemporalAccess(TemporalSettings):
    """The settings of a client of Temporal: the connection, and what the workers of this installation use there."""

    temporal_task_queue: str = "octy"  # queue names begin with it and the installation's id
    temporal_keys: Keys | None = None  # encrypt payloads (AES-256-GCM); not set: Temporal can read them
    temporal_deployment: str = Field(default="", pattern=r"^[^.:]{0,200}$")  # its name switches worker versioning on
    temporal_build_id: str = Field(default=RELEASE, max_length=200)  # the version of this worker in its deployment


class WorkerSettings(RetentionSettings, WebhookSettings, StaffSettings, TemporalAccess):
    """The settings of a worker. Times are in seconds unless the name says otherwise."""

    peppers: Keys
    sealing_keys: Keys  # seal new secrets until they are collected (AES-256-GCM)
    link_keys: Keys  # make and check the links of mails (HMAC-SHA-256)
    threshold: int = Field(default=20, ge=2, le=10_000)

    codec_url: CodecUrl = "http://127.0.0.1:8081"  # where the Web UI reaches `octy codec-server`; "none": nowhere
    temporal_search_attributes: Literal["auto", "off"] = "auto"  # off: workers may not add them
    relay_poll_interval: float = Field(default=1.0, gt=0, le=60)  # between two polls of the outbox
    relay_concurrency: int = Field(default=8, ge=1, le=100)  # alerts at a time; a quarter as many notices a second
    relay_lease: float = Field(default=30.0, ge=10, le=3600)  # then other relays take the messages of a killed worker

    smtp_host: str = "127.0.0.1"
    smtp_port: int = Field(default=587, ge=1, le=65_535)
    smtp_security: Literal["starttls", "tls"] = "starttls"  # verified either way; mail in clear is no option
    smtp_user: str = ""
    smtp_password: SecretStr = SecretStr("")
    smtp_ca_file: str = ""  # extra authority to trust, a PEM file; empty: the system's own
    smtp_timeout: float = Field(default=10.0, gt=0, le=15)  # of a step; two copies of a mail must fit into one try
    mail_from: str = "Octy Security <security@octy.invalid>"
    mail_daily_cap: int = Field(default=3, ge=1)  # reminders and notices an account and day; alerts have no cap
    alert_group_interval: float = Field(default=300.0, ge=0, le=300)  # between two alert mails of an account; 0: none
    mail_templates: str = ""  # a folder whose files replace our templates; `octy mail preview --help` lists them
    mail_language: Language = "en"  # its folder of that name is searched first; also the `lang` of HTML mails
    mail_accent_colour: Colour = "#1f4fd8"  # buttons and links
    mail_alert_colour: Colour = "#c2410c"  # failed attempts
    mail_calm_colour: Colour = "#2e7d4f"  # good news
    dkim_domain: str = ""  # these three together sign every mail; `octy mail record` prints the entry for the DNS
    dkim_selector: str = ""
    dkim_private_key_file: str = ""  # PEM, RSA or Ed25519
    product_name: str = "Octy"
    support_contact: str = "support@octy.invalid"

    pages_host: str = "127.0.0.1"
    pages_port: int = Field(default=8025, ge=0, le=65_535)
    pages_certificate: str = ""  # PEM files; empty: plain HTTP, behind a proxy that ends TLS
    pages_private_key: str = ""
    pages_max_connections: int = Field(default=256, ge=8, le=100_000)  # each takes up to 0.3 MB with TLS
    pages_max_connections_per_address: int = Field(default=32, ge=1, le=100_000)  # an IPv4 address, a /64 of IPv6
    pages_proxies: Networks = ()  # proxies, to which that limit does not apply; without a certificate: all

    incident_remind_after: Times = (DAY, 3 * DAY)
    incident_staff_after: Time = 7 * DAY
    incident_close_after: Time = 14 * DAY
    alert_link_grace_period: Time = 7 * DAY  # the alert's link shows a closed incident for so long
    regenerate_on_silence: bool = False
    quiet_after_false_alarm: Time = DAY
    reveal_link_ttl: Time = DAY  # of a one-time link; a renewed link starts again
    deliver: DeliveryMethod = DeliveryMethod.LINK  # "mail": the mail contains the new secret
    overlap: Time = DAY  # the old key pair stays valid after the new secret was collected
    overlap_warn_before: Time = 6 * HOUR  # its end, a mail says that the old key pair is still used; 0: none
    resend_after: Times = (DAY, 3 * DAY)
    collect_staff_after: Time = 7 * DAY  # and abandoned after `collect_abandon_after`

    retention_interval: float = Field(default=DAY, ge=60)  # between two runs that delete expired rows
    reconcile_interval: float = Field(default=HOUR, ge=60)  # between two comparisons of SQL with Temporal
    support_digest_to: DigestAddress = Field(default="", repr=False)  # gets the daily digest; empty: no digest
    support_digest_hour: int = Field(default=6, ge=0, le=23)  # UTC

    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(default=0, ge=0, le=65_535)  # Prometheus reads /metrics there; 0: not served
    metrics_sdk_port: int = Field(default=0, ge=0, le=65_535)  # the Temporal SDK's metrics; 0: not served
    tracing: bool = False  # OpenTelemetry spans; OTEL_* variables configure the exporter

    @property
    def incident_times(self) -> IncidentTimes:
        """The times of an incident, as its workflow takes them."""
        return IncidentTimes(
            remind_after=self.incident_remind_after,
            staff_after=self.incident_staff_after,
            close_after=self.incident_close_after,
            regenerate_on_silence=self.regenerate_on_silence,
        )

    @property
    def regeneration_times(self) -> RegenerationTimes:
        """The times of a regeneration, as its workflow takes them."""
        return RegenerationTimes(
            overlap=self.overlap,
            resend_after=self.resend_after,
            staff_after=self.collect_staff_after,
            abandon_after=self.collect_abandon_after,
            warn_before=self.overlap_warn_before,
        )

    def to_environment(self) -> dict[str, str]:
        """Return the OCTY_* and TEMPORAL_* variables that give these settings; they hold secrets."""
        texts = {f"OCTY_{name.upper()}": _to_text(getattr(self, name)) for name in type(self).model_fields}
        return {**self.temporal_variables, **{name: text for name, text in texts.items() if text}}


def _to_text(value: object) -> str:
    match value:
        case None:
            return ""
        case Keychain():
            return value.export()
        case SecretStr():
            return value.get_secret_value()
        case tuple():
            return ",".join(map(str, value))
        case _:
            return str(value)
