"""The problems that `octy doctor` can find in what came of the work, by their codes."""

from octy_worker.cli.doctor.problem import Problem

STALLED_WORK = {
    "alerts-late": Problem(
        "alerts",
        "{count} alerts have not left, the oldest for {minutes} minutes; these customers know of nothing",
        "see 'outbox', 'worker' and 'mail server' here, and `octy incidents held`",
    ),
    "alerts-held": Problem(
        "alerts",
        "alerts are held until {until}, since it looks like a fault of our own: {evidence}",
        "`octy incidents held` shows the evidence, `octy incidents release` lets them go",
    ),
    "alerts-failed": Problem(
        "alerts",
        "{count} alerts were refused for good; these customers know of nothing",
        "`octy incidents list` shows whose; reach them by another way",
    ),
    "incidents-stalled": Problem(
        "incidents",
        "{count} incidents were answered, and nothing followed for {minutes} minutes",
        "see the workflow in Temporal's Web UI and the worker's log; `octy incidents reconcile` starts a missing one",
    ),
    "incidents-need-staff": Problem(
        "incidents", "{count} incidents wait for support staff", "`octy incidents list` shows them"
    ),
    "keys-refused": Problem(
        "new keys",
        "the mail with {count} customers' new keys was refused for good, so they can't collect them",
        "`octy accounts show` has the server's answer; `octy accounts change` the address, then `octy keys resend`",
    ),
    "keys-uncollected": Problem(
        "new keys",
        "{count} customers have no usable keys: nobody collected the new ones within 3 days",
        "call them, then `octy keys regenerate`",
    ),
    "mails-retrying": Problem(
        "mails",
        "{count} mails are tried again and again, the oldest for {minutes} minutes",
        "`octy accounts show` has the server's answer; see 'mail server' here",
    ),
    "mails-refused": Problem(
        "mails",
        "{count} mails were refused for good within a day",
        "the worker's log has the codes; is the sender's address accepted, are the recipients' right?",
    ),
    "mails-withheld": Problem(
        "mails",
        "the daily cap withholds {count} reminders or notices",
        "`octy incidents list` shows whose; they are ordered again after a day",
    ),
    "webhooks-retrying": Problem(
        "webhooks sent",
        "{count} webhooks do not arrive, the oldest for {minutes} minutes",
        "`octy webhooks list` shows which server answers what; they are tried for three days",
    ),
    "webhooks-failed": Problem(
        "webhooks sent",
        "{count} webhooks of the last 4 days were given up",
        "tell the customers whose servers they are; `octy webhooks retry` sends them again",
    ),
    "commits-failing": Problem(
        "app commits",
        "commits failed in {count} app processes within 10 minutes; requests that must be recorded are 503",
        "'apps' here has the error; is the disk full, is the database overloaded?",
    ),
    "releases-differ": Problem(
        "releases",
        "{count} app processes run another release than this one",
        "bring apps and workers to one release",
    ),
    "write-failed": Problem(
        "database write",
        "a row can't be committed: {error}",
        "is the disk full, may this user write there, is the server read-only, does a process hang?",
    ),
    "write-slow": Problem(
        "database write",
        "committing a row took {seconds} s; each request that must be recorded waits for a commit",
        "see the disk, and which long transactions there are",
    ),
    "disk-nearly-full": Problem(
        "disk",
        "{free} MB are free beside the database; when it is full, requests that must be recorded are 503",
        "make room; `octy db prune` drops what is past its time",
    ),
    "clocks-differ": Problem(
        "clocks",
        "this host's clock is {seconds} s away from the database server's; times in mails and deadlines are wrong",
        "switch on NTP on both",
    ),
}
