"""Problems that `octy doctor` can find in settings, files, packages, database, mails and scheduled jobs, by code."""

from octy_worker.cli.doctor.check import Problem

_REGISTER = "run `octy db upgrade` with the worker's settings, or start `octy worker`"
_RESTORE = "stop all processes, keep a copy of the database, then restore a backup"
_LATE = "read the worker's log; `{command}` runs it now"

SETTINGS = {
    "keys-missing": Problem(
        "{setting}",
        "not set",
        "on a new installation run `octy secrets` and set what it prints; on an existing one set the keys already in "
        "use",
    ),
    "keys-malformed": Problem(
        "{setting}", "not a list of keys: {error}", "set the whole value, as `octy secrets` printed it"
    ),
    "setting-refused": Problem("{setting}", "{error}", "correct it; the checks below use the default instead"),
    "setting-misspelled": Problem("{setting}", "there is no setting of this name", "did you mean {near}?"),
    "sender-malformed": Problem("OCTY_MAIL_FROM", "{error}"),
    "sender-placeholder": Problem(
        "OCTY_MAIL_FROM", "mails are sent from the placeholder domain {domain}", "set a sender address of your own"
    ),
    "contact-placeholder": Problem(
        "OCTY_SUPPORT_CONTACT",
        "mails name the placeholder {contact} as support contact",
        "set your support address",
    ),
    "public-url-local": Problem(
        "OCTY_PUBLIC_URL",
        "links in mails lead to {url}, which customers can't reach",
        "set the URL at which customers reach the pages",
    ),
    "secret-file-readable": Problem(
        "files of secrets", "every user of this machine can read or write {file}", "chmod o-rwx {file}"
    ),
    "packages-conflict": Problem("packages", "{error}"),
}
DATABASE = {
    "sslmode-weak": Problem(
        "database connection",
        "sslmode={mode}: the server's certificate is not verified, so an attacker on the network can read the "
        "traffic or impersonate the server",
        "set sslmode=verify-full, and sslrootcert to the PEM file of the server's CA",
    ),
    "database-url-refused": Problem("database", "{error}", "correct OCTY_DATABASE_URL"),
    "database-not-this-release": Problem("database", "{error}"),
    "database-file-unavailable": Problem(
        "database", "{error}", "check the path, the file's permissions and the free disk space"
    ),
    "database-server-unreachable": Problem(
        "database", "{error}", "check that the server runs, that the database exists and that this user may log in"
    ),
    "database-on-network-file-system": Problem(
        "database",
        "{file} is on a network file system ({kind}), where SQLite loses commits",
        "move it to a local disk, or use PostgreSQL",
    ),
    "database-too-old": Problem(
        "database version", "{product} {version} is too old: Octy needs {least} or later", "update {product}"
    ),
    "database-not-durable": Problem(
        "durability",
        "{settings}: committed outcomes can be lost in a power failure",
        "set {names} to on in postgresql.conf and reload the server",
    ),
    "identity-unreadable": Problem("{name}", "{error}", _RESTORE),
    "installation-missing": Problem("installation", "the database has no installation id yet", _REGISTER),
    "installation-copied": Problem("installation", "{error}", "{to_do}"),
    "keys-mismatch": Problem("keys of this database", "{error}", "{to_do}"),
    "keys-unregistered": Problem(
        "keys of this database", "{settings}: the database has no check value for these keys yet", _REGISTER
    ),
    "write-lock-failed": Problem(
        "write lock", "{error}", "check that this user may write there, and whether another process holds the lock"
    ),
    "database-damaged": Problem("integrity", "{error}", _RESTORE),
    "rows-unreadable": Problem("{name}", "{error}", _RESTORE),
    "peppers-missing": Problem(
        "peppers and key pairs",
        "{lost} of {used} live key pairs can't be verified: OCTY_PEPPERS lacks {keys}",
        "add these peppers again",
    ),
    "hashes-forged": Problem(
        "imported hashes",
        "{forged} of {found} hashes were not written by an import, or were changed or copied afterwards; no secret is "
        "accepted for them",
        "find out who wrote to the database, and replace these key pairs",
    ),
    "sealing-keys-missing": Problem(
        "sealing keys and secrets",
        "{lost} of {used} new secrets can't be collected: OCTY_SEALING_KEYS lacks {keys}",
        "add these keys again",
    ),
    "dead-letters": Problem(
        "outbox",
        "{count} messages failed {attempts} times and are not retried",
        "read the error in `octy outbox list --dead-letters`, fix its cause, then run `octy outbox retry --all "
        "--reason …`",
    ),
    "messages-late": Problem(
        "outbox",
        "{count} messages are undelivered, the oldest since {since}{error}",
        "start `octy worker` and check that it reaches Temporal; no message is lost meanwhile",
    ),
    "webhooks-off": Problem(
        "webhooks",
        "{count} accounts have a webhook URL, but webhooks are off: OCTY_WEBHOOK_KEYS is not set",
        "set OCTY_WEBHOOK_KEYS; `octy secrets` prints new keys",
    ),
    "outcomes-lost": Problem(
        "apps",
        "{summary}; {lost} outcomes were lost since these processes started",
        "read the app's log: usually its queue was full while the database was unavailable; restarting the app clears "
        "this message",
    ),
}
SCHEDULED_JOBS = {
    "retention-never": Problem(
        "retention", "never completed, and expired rows are waiting", _LATE.format(command="octy db prune")
    ),
    "retention-late": Problem("retention", "overdue: last completed {at}", _LATE.format(command="octy db prune")),
    "reconciliation-late": Problem(
        "reconciliation",
        "overdue: last completed {at}: {counts}",
        _LATE.format(command="octy incidents reconcile"),
    ),
    "workflows-unknown": Problem(
        "reconciliation",
        "last completed {at}: {counts}; these workflows run in Temporal but have no row in the database",
        "if a backup was restored, run `octy db restored --reason …`",
    ),
    "digest-failed": Problem("digest", "last result: {result}, {at}", "check OCTY_SUPPORT_DIGEST_TO"),
    "digest-late": Problem("digest", "overdue: last result: {result}, {at}", "read the worker's log"),
}
AUDIT = {
    "audit-keys-missing": Problem(
        "OCTY_AUDIT_KEYS",
        "not set: no checkpoints of the audit log are signed, so a log that was rewritten can't be told from the true "
        "one",
        "set it to the line that `octy secrets` prints, in all workers",
    ),
    "audit-log-broken": Problem(
        "audit log",
        "it was changed: {error}",
        "keep a copy of the database and of the system logs, and run `octy audit verify --checkpoint FILE`",
    ),
    "audit-checkpoint-late": Problem(
        "audit checkpoints", "overdue: last signed: {at}, up to entry {seq}", "read the worker's log"
    ),
}
RESTORED = {
    "database-restored": Problem(
        "restored backup",
        "Temporal knows {missing} incidents and regenerations that the database lacks, and {earlier} that it has ended "
        "and that are open here: a backup was restored, and key pairs revoked since then may be accepted again",
        "`octy db restored --dry-run --reason …` lists them; without --dry-run it revokes them again; see "
        "docs/restoring.md",
    ),
    "restored-keys-lost": Problem(
        "restored backup",
        "at the last comparison {count} customers had key pairs that the restored database does not know",
        "`octy db restored --reason …` lists them; run `octy keys regenerate` for each, then `octy db restored` again",
    ),
}
MAILS = {
    "templates-missing": Problem("mail templates", "{error}"),
    "templates-faulty": Problem(
        "mail templates", "{error}", "correct the templates; `octy mail preview` shows all errors"
    ),
    "signature-refused": Problem("mail signature", "{error}"),
    "signature-not-aligned": Problem(
        "mail signature",
        "{signature}, but mails are sent from {domain}",
        "sign for the domain of OCTY_MAIL_FROM, else receivers ignore the signature",
    ),
    "signing-key-readable": Problem("mail signature", "every user of this machine can read {file}", "chmod o-r {file}"),
}
