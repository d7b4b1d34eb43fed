"""Problems that `octy doctor` can find about staff, by code."""

from octy_worker.cli.doctor.check import Problem

STAFF = {
    "staff-settings-refused": Problem("staff settings", "{error}", "{to_do}"),
    "staff-auth-off": Problem(
        "staff settings",
        "OCTY_STAFF_AUTH=off: everybody on this machine acts as staff, and customers get real mail",
        "remove it, and set the OCTY_STAFF_KEYS that `octy secrets` prints; docs/staff.md has the first five minutes",
    ),
    "staff-certificates-long": Problem(
        "staff settings",
        "OCTY_STAFF_CERTIFICATE_LIFE allows certificates of {hours} h: a stolen key stays usable for so long",
        "set it to a day's work, such as 57600",
    ),
    "staff-authority-missing": Problem(
        "staff certificates",
        "OCTY_STAFF_CA_KEYS is not set, so no certificate of staff is accepted",
        "set it to the public keys of your SSH authority, or make one with `octy staff ca init`; see docs/staff.md",
    ),
    "staff-authority-untrusted": Problem(
        "staff certificates",
        "OCTY_STAFF_CA_KEYS lacks the built-in authority's newest key, {fingerprint}: its certificates are refused",
        "add the key that `octy staff ca show` prints",
    ),
    "staff-keys-lost": Problem(
        "staff",
        "OCTY_STAFF_KEYS lacks {keys}, under which rows of staff were written",
        "add these keys again; without them no person whose row was written under them can act",
    ),
    "staff-rows-forged": Problem(
        "staff",
        "not written by this system, or older than the audit log's last grant: {handles}; these rows grant nothing",
        "find out who wrote to the database; an admin disables these people and adds them again",
    ),
    "staff-admin-missing": Problem(
        "staff",
        "there is no active admin, so staff can't be added or disabled",
        "on a new installation run `octy staff bootstrap`, then `octy staff enroll`; see docs/staff.md",
    ),
    "staff-factor-missing": Problem(
        "staff",
        "without a second factor for more than a day: {handles}",
        "make a new link with `octy staff reset`, or end the invitation with `octy staff disable`",
    ),
    "staff-glass-hidden": Problem(
        "break glass",
        "{count} by break glass, the newest {newest}: the audit log has it, its row was deleted or changed",
        "find out who wrote to the database, and run `octy audit verify`; then an admin runs `octy orders acknowledge`",
    ),
    "staff-glass-broken": Problem(
        "break glass",
        "{count} by break glass, the newest {newest}: not acknowledged yet",
        "ask who did it; then an admin runs `octy orders acknowledge`",
    ),
}
