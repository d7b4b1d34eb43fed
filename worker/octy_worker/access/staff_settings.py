"""Builds what judges staff from the settings: one place for worker, commands and staff API."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from sqlalchemy import make_url

from octy_middleware.clock import RandomBytes
from octy_middleware.db.postgres_url import is_on_this_machine
from octy_middleware.errors import ConfigurationError
from octy_middleware.loopback import is_loopback
from octy_worker.access.authority import BuiltInAuthority
from octy_worker.access.enrolments import Enrolments
from octy_worker.access.factor_enrolment import FactorEnrolments
from octy_worker.access.members import Members
from octy_worker.access.passkey_orders import PasskeyOrders
from octy_worker.access.proofs import NoProofs, OrderProofs
from octy_worker.access.receipts import OrderReceipts
from octy_worker.access.roles import Action
from octy_worker.access.row_macs import RowMacs
from octy_worker.crypto.sealed_box import Sealer
from octy_worker.crypto.ssh_certificates import CertificateAuthorities, Revocations
from octy_worker.settings import StaffSettings


@dataclass(frozen=True, slots=True)
class StaffAccess:
    """What judges staff and their orders. `four_eyes`: the actions that wait for a second person's approval."""

    authorities: CertificateAuthorities
    macs: RowMacs
    sealer: Sealer
    members: Members
    receipts: OrderReceipts
    enrolments: Enrolments
    factor_enrolments: FactorEnrolments
    built_in_authority: BuiltInAuthority
    four_eyes: frozenset[Action]


def load_staff_access(settings: StaffSettings, installation: str, random_bytes: RandomBytes) -> StaffAccess | None:
    """Build it from the settings; None where staff_auth is off and no staff keys are set.

    Raises ConfigurationError with what to set.
    """
    check_staff_settings(settings)
    if settings.staff_keys is None:
        return None
    authorities = load_authorities(settings)
    four_eyes = parse_four_eyes(settings.four_eyes)
    macs = RowMacs(settings.staff_keys)
    sealer = Sealer(settings.staff_keys, random_bytes, setting="OCTY_STAFF_KEYS", what="a secret of staff")
    members = Members(macs, sealer)
    enrolments = Enrolments(members, macs, random_bytes)
    return StaffAccess(
        authorities=authorities,
        macs=macs,
        sealer=sealer,
        members=members,
        receipts=OrderReceipts(
            installation,
            OrderProofs(authorities, members, macs, PasskeyOrders(settings.staff_url, macs)),
            four_eyes=four_eyes,
        ),
        enrolments=enrolments,
        factor_enrolments=FactorEnrolments(installation, authorities, members, enrolments),
        built_in_authority=BuiltInAuthority(macs, sealer),
        four_eyes=four_eyes,
    )


def load_receipts(settings: StaffSettings, installation: str, random_bytes: RandomBytes) -> OrderReceipts:
    """Return what receives orders by these settings. Raises ConfigurationError with what to set."""
    staff = load_staff_access(settings, installation, random_bytes)
    if settings.staff_auth == "off":
        return OrderReceipts(installation, NoProofs())
    assert staff is not None  # the settings were checked
    return staff.receipts


def check_staff_settings(settings: StaffSettings) -> None:
    """Raise ConfigurationError with what to set, for settings with which staff can't be judged. Reads no database."""
    load_authorities(settings)
    parse_four_eyes(settings.four_eyes)
    if settings.staff_auth == "off":
        check_staff_auth_off(settings)
    elif settings.staff_keys is None:
        raise ConfigurationError(
            "OCTY_STAFF_KEYS is not set, so no order of staff could be checked → set the OCTY_STAFF_KEYS and "
            "OCTY_AUDIT_KEYS that `octy secrets` prints; for development on one machine, OCTY_STAFF_AUTH=off"
        )


def load_authorities(settings: StaffSettings) -> CertificateAuthorities:
    """Return the trusted authorities with their rules. Raises ConfigurationError."""
    return CertificateAuthorities(
        settings.staff_ca_keys,
        max_lifetime=settings.staff_certificate_life,
        revoked=Revocations.parse(settings.staff_revoked),
    )


def parse_four_eyes(names: tuple[str, ...]) -> frozenset[Action]:
    """Return the actions of OCTY_FOUR_EYES. Raises ConfigurationError for an unknown one."""
    unknown = sorted(set(names) - set(Action))
    if unknown:
        raise ConfigurationError(
            f"OCTY_FOUR_EYES: there is no action {', '.join(unknown)} → use some of {', '.join(Action)}"
        )
    return frozenset(map(Action, names))


def check_staff_auth_off(settings: StaffSettings) -> None:
    """Raise ConfigurationError unless everything that an act reaches is on this machine."""
    url = make_url(settings.database_url)
    local = {
        "OCTY_DATABASE_URL": url.get_backend_name() == "sqlite" or is_on_this_machine(url),
        "TEMPORAL_ADDRESS": is_loopback(settings.temporal_connection().host),
        "OCTY_PUBLIC_URL": is_loopback(urlsplit(settings.public_url).hostname or ""),
    }
    remote = [name for name, is_local in local.items() if not is_local]
    if remote:
        raise ConfigurationError(
            f"OCTY_STAFF_AUTH=off lets everybody act as staff, and another machine is named by {', '.join(remote)} → "
            "remove OCTY_STAFF_AUTH, and set the OCTY_STAFF_KEYS and OCTY_AUDIT_KEYS that `octy secrets` prints"
        )
