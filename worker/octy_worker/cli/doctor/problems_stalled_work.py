"""Problems that `octy doctor` can find in the work itself: what is stalled, failed or slow, by code."""

from octy_worker.cli.doctor.check import Problem

STALLED_WORK = {
    "alerts-late": Problem(
        "alerts",
        "{count} alerts are not sent yet, the oldest for {minutes} minutes; these customers know nothing of the "
        "attempts",
        "see 'outbox', 'worker' and 'mail server' in this report, and `octy incidents held`",
    ),
    "alerts-held": Problem(
        "alerts",
        "alerts are held until {until}, because many accounts are affected at once, as by a fault of our own: "
        "{evidence}",
        "`octy incidents held` shows the evidence; `octy incidents release` sends them now",
    ),
    "alerts-failed": Problem(
        "alerts",
        "{count} alerts were rejected by the mail server for good; these customers know nothing of the attempts",
        "`octy incidents list` shows whose; contact them another way",
    ),
    "incidents-stalled": Problem(
        "incidents",
        "{count} incidents were answered, but nothing has happened since, the oldest for {minutes} minutes",
        "see the workflow in Temporal's Web UI and the worker's log; `octy incidents reconcile` restarts a missing one",
    ),
    "incidents-need-staff": Problem(
        "incidents", "{count} incidents wait for support staff", "`octy incidents list` shows them"
    ),
    "keys-refused": Problem(
        "new keys",
        "the mails with {count} customers' new keys were rejected for good, so they can't collect them",
        "`octy accounts show` has the mail server's response; correct the address with `octy accounts change`, then "
        "run `octy keys resend`",
    ),
    "keys-uncollected": Problem(
        "new keys",
        "{count} customers have no usable key pair: they did not collect the new one within 3 days",
        "contact them, then run `octy keys regenerate`",
    ),
    "mails-retrying": Problem(
        "mails",
        "{count} mails fail at every attempt, the oldest for {minutes} minutes",
        "`octy accounts show` has the mail server's response; see 'mail server' in this report",
    ),
    "mails-refused": Problem(
        "mails",
        "{count} mails were rejected for good in the last 24 hours",
        "the worker's log has the SMTP codes; check the sender's address and the recipients' addresses",
    ),
    "mails-withheld": Problem(
        "mails",
        "the daily limit withholds {count} reminders or notices",
        "`octy incidents list` shows whose; they are sent after a day",
    ),
    "webhooks-retrying": Problem(
        "webhook deliveries",
        "{count} webhooks fail at every attempt, the oldest for {minutes} minutes",
        "`octy webhooks list` shows which server responds with what; they are retried for three days",
    ),
    "webhooks-failed": Problem(
        "webhook deliveries",
        "{count} webhooks of the last 4 days failed for good",
        "tell the customers to whose servers they go; `octy webhooks retry` sends them again",
    ),
    "commits-failing": Problem(
        "app commits",
        "commits failed in {count} app processes in the last 10 minutes; requests that must be recorded get 503",
        "'apps' in this report has the error; check the disk space and the load of the database",
    ),
    "releases-differ": Problem(
        "releases",
        "{count} app processes run another release than this one",
        "update apps and workers to one release",
    ),
    "write-failed": Problem(
        "database write",
        "a row can't be committed: {error}",
        "check the disk space, this user's permissions, whether the server is read-only, and for a process that holds "
        "the lock",
    ),
    "write-slow": Problem(
        "database write",
        "committing one row took {seconds} s; every request that must be recorded waits for a commit",
        "check the disk, and for long transactions",
    ),
    "disk-nearly-full": Problem(
        "disk",
        "only {free} MB are free beside the database; when it is full, requests that must be recorded get 503",
        "free some space; `octy db prune` deletes expired rows",
    ),
    "clocks-differ": Problem(
        "clocks",
        "this host's clock differs from the database server's by {seconds} s; times in mails and deadlines are wrong",
        "switch on NTP on both",
    ),
}
