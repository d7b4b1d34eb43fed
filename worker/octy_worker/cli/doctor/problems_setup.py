"""The problems that `octy doctor` can find in settings, files, packages, database, mails and tasks, by their codes."""

from octy_worker.cli.doctor.problem import Problem

_REGISTER = "run `octy db upgrade` with the worker's settings, or start `octy worker`"
_RESTORE = "stop all processes, keep a copy, restore a backup"
_LATE = "see the worker's log; `{command}` does it now"

SETTINGS = {
    "keys-missing": Problem(
        "{setting}", "not set", "a new installation takes what `octy secrets` prints, others their own"
    ),
    "keys-malformed": Problem(
        "{setting}", "these are no keys: {error}", "take them whole, as `octy secrets` prints them"
    ),
    "setting-refused": Problem("{setting}", "{error}", "the default was assumed for the looks below"),
    "setting-misspelled": Problem("{setting}", "no setting has this name", "did you mean {near}?"),
    "sender-malformed": Problem("OCTY_MAIL_FROM", "{error}"),
    "sender-is-a-placeholder": Problem("OCTY_MAIL_FROM", "mails come from {domain}", "set an address of yours"),
    "contact-is-a-placeholder": Problem("OCTY_SUPPORT_CONTACT", "mails name {contact}", "set an address of yours"),
    "public-url-is-local": Problem("OCTY_PUBLIC_URL", "links lead to {url}", "set what customers can reach"),
    "file-open": Problem(
        "files of secrets", "every user of this machine can read or write {file}", "chmod o-rwx {file}"
    ),
    "packages-clash": Problem("packages", "{error}"),
}
DATABASE = {
    "sslmode-weak": Problem(
        "database connection",
        "sslmode={mode}: whoever sits between can read along or pose as the server",
        "set sslmode=verify-full, and sslrootcert to the PEM file of the server's authority",
    ),
    "database-url-refused": Problem("database", "{error}", "set OCTY_DATABASE_URL"),
    "database-not-this-release": Problem("database", "{error}"),
    "database-file-away": Problem("database", "{error}", "is the path right, the file readable, the disk full?"),
    "database-server-away": Problem(
        "database", "{error}", "does the server run, may this user log in, does the database exist?"
    ),
    "database-on-network-disk": Problem(
        "database",
        "{file} is on a network file system ({kind}), where SQLite loses commits",
        "move it to a disk of this machine, or use PostgreSQL",
    ),
    "database-too-old": Problem(
        "database version", "{product} {version} is too old: Octy needs {least} or later", "update {product}"
    ),
    "database-not-durable": Problem(
        "durability",
        "{settings}: accepted outcomes can be lost on power loss",
        "set {names} to on in postgresql.conf and reload the server",
    ),
    "identity-unreadable": Problem("{name}", "{error}", _RESTORE),
    "installation-missing": Problem("installation", "the database has no installation id yet", _REGISTER),
    "installation-copied": Problem("installation", "{error}", "{to_do}"),
    "keys-foreign": Problem("keys of this database", "{error}", "{to_do}"),
    "keys-unregistered": Problem(
        "keys of this database", "{settings}: keys without a registered check value", _REGISTER
    ),
    "write-lock-missing": Problem("write lock", "{error}", "may this user write there? does a process hang?"),
    "database-damaged": Problem("integrity", "{error}", _RESTORE),
    "rows-unreadable": Problem("{name}", "{error}", _RESTORE),
    "peppers-missing": Problem(
        "peppers and pairs", "{lost} of {used} live pairs can't be used", "OCTY_PEPPERS lacks {keys}: put it back"
    ),
    "hashes-forged": Problem(
        "imported hashes",
        "{forged} of {found} were not written by an import, or were changed or copied since; nothing fits them",
        "find out who wrote to the database, and replace these pairs",
    ),
    "sealing-keys-missing": Problem(
        "sealing keys and secrets",
        "{lost} of {used} new secrets can't be collected",
        "OCTY_SEALING_KEYS lacks {keys}: put it back",
    ),
    "messages-set-aside": Problem(
        "outbox",
        "{count} messages are set aside after {tries} tries",
        "see `octy outbox list --aside`, end the fault, then `octy outbox retry --all --reason …`",
    ),
    "messages-late": Problem(
        "outbox",
        "{count} undelivered, the oldest since {since}{error}",
        "start `octy worker`, and see that it reaches Temporal; nothing is lost meanwhile",
    ),
    "webhooks-off": Problem(
        "webhooks",
        "off, and {count} accounts have a webhook_url",
        "set OCTY_WEBHOOK_KEYS; `octy secrets` prints a fresh one",
    ),
    "outcomes-lost": Problem(
        "apps",
        "{told}; {lost} outcomes lost since they began",
        "the queue was full while the store was away, or see the app's log; said until the app is started anew",
    ),
}
TASKS = {
    "retention-never": Problem(
        "retention", "never finished, and rows are past their time", _LATE.format(command="octy db prune")
    ),
    "retention-late": Problem("retention", "last finished {at}", _LATE.format(command="octy db prune")),
    "reconciliation-late": Problem(
        "reconciliation", "last finished {at}: {counts}", _LATE.format(command="octy incidents reconcile")
    ),
    "workflows-unknown": Problem(
        "reconciliation",
        "last finished {at}: {counts}",
        "workflows run of which the database knows nothing: if a backup was restored, `octy db restored --reason …`",
    ),
    "digest-failed": Problem("digest", "last one {told}, {at}", "check OCTY_SUPPORT_DIGEST_TO"),
    "digest-late": Problem("digest", "last one {told}, {at}", "see the worker's log"),
}
RESTORED = {
    "database-restored": Problem(
        "restored backup",
        "Temporal knows {missing} incidents and regenerations that the database lacks, and {earlier} that are over "
        "there and open here: a backup was restored, and key pairs that were revoked since may be accepted again",
        "`octy db restored --dry-run --reason …` lists them, without --dry-run it cuts them again; see "
        "docs/restoring.md",
    ),
    "restored-keys-lost": Problem(
        "restored backup",
        "{count} customers had keys that the restored database does not know, when it was last compared",
        "`octy db restored --reason …` lists them; `octy keys regenerate` for each, then run it again",
    ),
}
MAILS = {
    "templates-missing": Problem("mail templates", "{error}"),
    "templates-faulty": Problem("mail templates", "{error}", "mend them; `octy mail preview` tells all faults"),
    "signature-refused": Problem("mail signature", "{error}"),
    "signature-not-aligned": Problem(
        "mail signature", "{signature}, but mails come from {domain}", "sign for the domain of OCTY_MAIL_FROM"
    ),
    "signing-key-open": Problem("mail signature", "{file} can be read by everybody", "chmod o-r {file}"),
}
