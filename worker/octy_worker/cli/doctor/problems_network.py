"""Problems that `octy doctor` can find over the network, by code."""

from octy_worker.cli.doctor.check import Problem

_MAIL_LOG = "read the mail server's log, and check that it accepts mails from OCTY_MAIL_FROM"
_RENEW = "renew the certificate and have its server load the new one"
_NOT_YET_VALID = "the certificate is not valid yet: check this host's clock"
_PUBLIC_URL = "check that OCTY_PUBLIC_URL leads to the pages"

TEMPORAL = {
    "temporal-refused": Problem("Temporal", "{error}", "{to_do}"),
    "temporal-unreachable": Problem("Temporal", "{address}: {error}", "start it, or correct {setting}"),
    "temporal-call-failed": Problem("{name}", "{error}", "read Temporal's log"),
    "namespace-missing": Problem(
        "namespace",
        "there is no namespace {namespace!r}",
        "correct TEMPORAL_NAMESPACE, or run: temporal operator namespace create --namespace {namespace}",
    ),
    "namespace-refused": Problem("namespace", "{error}", "{to_do}"),
    "search-attributes-refused": Problem("search attributes", "{error}"),
    "search-attributes-unreadable": Problem("search attributes", "{error}", "{to_do}"),
    "search-attributes-missing": Problem(
        "search attributes",
        "the namespace lacks the search attributes {names}",
        "start `octy worker`, which adds them, or run: {command}",
    ),
    "worker-missing": Problem("worker", "no worker is polling task queue {queue!r}", "start one with `octy worker`"),
    "task-queues-not-polled": Problem(
        "worker", "no worker is polling task queue {queues}", "start a worker of this release with `octy worker`"
    ),
    "worker-releases-differ": Problem(
        "worker releases",
        "{count} workers run another release or schema than this one ({here}): {others}",
        "update all workers to one release",
    ),
    "temporal-clock-differs": Problem(
        "Temporal's clock",
        "Temporal's clock is about {minutes} minutes {direction} this host's; reminders are sent and incidents are "
        "closed at wrong times",
        "switch on NTP on both",
    ),
    "version-not-current": Problem(
        "version",
        "deployment {deployment}: build {current} is current, this is build {here}",
        "octy temporal promote",
    ),
    "version-none-current": Problem(
        "version",
        "deployment {deployment}: no build is current, so no workflow makes progress",
        "octy temporal promote",
    ),
    "schedules-missing": Problem(
        "schedules",
        "no schedule for {tasks}",
        "start `octy worker`, which creates them; if it can't, its log says why",
    ),
    "schedules-paused": Problem(
        "schedules",
        "paused, so these jobs do not run: {tasks}",
        "temporal schedule toggle --unpause --schedule-id {id}",
    ),
    "workflow-tasks-failing": Problem(
        "workflow tasks",
        "{count} workflows are stuck because their workflow tasks keep failing, for example {id}",
        "read the error in the worker's log or in Temporal's Web UI; often a worker runs a wrong release or lacks a "
        "key of OCTY_TEMPORAL_KEYS",
    ),
    "codec-server-missing": Problem(
        "codec server",
        "payloads are encrypted, but there is no codec server at {url} ({error}), so Temporal's Web UI can't show them",
        "start `octy codec-server`, or set OCTY_CODEC_URL to its URL, or to none if you do not need it",
    ),
}
MAIL_SERVER = {
    "ca-file-unreadable": Problem("mail server", "OCTY_SMTP_CA_FILE: {file}: {error}", "set it to a readable PEM file"),
    "mail-server-certificate-refused": Problem(
        "mail server",
        "{place}: {error}",
        "set OCTY_SMTP_CA_FILE to the CA's certificate, and OCTY_SMTP_HOST to the name in the server's certificate",
    ),
    "mail-server-certificate-expired": Problem("mail server", "{place}: {error}", _RENEW),
    "mail-server-certificate-not-yet-valid": Problem("mail server", "{place}: {error}", _NOT_YET_VALID),
    "mail-server-without-tls": Problem(
        "mail server", "{place} does not offer STARTTLS", "use another port, or set OCTY_SMTP_SECURITY=tls"
    ),
    "mail-server-refuses-login": Problem(
        "mail server", "{place} refuses the login with {code}", "correct OCTY_SMTP_USER and OCTY_SMTP_PASSWORD"
    ),
    "mail-server-refuses-sender": Problem(
        "mail server", "{place} refuses the sender's address with {code}, so no mail can be sent", _MAIL_LOG
    ),
    "mail-server-refuses-recipient": Problem(
        "mail server", "{place} accepts the sender but refuses the recipient {recipient} with {code}", _MAIL_LOG
    ),
    "mail-server-refuses": Problem(
        "mail server", "{place} refuses the session with {code}, so no mail can be sent", _MAIL_LOG
    ),
    "mail-server-unreachable": Problem(
        "mail server", "{place}: {error}", "start it, or correct OCTY_SMTP_HOST and OCTY_SMTP_PORT"
    ),
}
PAGES = {
    "pages-error-status": Problem("pages", "{url} responds with status {status}", _PUBLIC_URL),
    "pages-wrong-server": Problem("pages", "another program responds at {url}", _PUBLIC_URL),
    "pages-certificate-expired": Problem("pages", "{url}: {error}", _RENEW),
    "pages-certificate-not-yet-valid": Problem("pages", "{url}: {error}", _NOT_YET_VALID),
    "pages-unreachable": Problem("pages", "{url}: {error}", "start `octy worker`, or correct OCTY_PUBLIC_URL"),
}
STAFF_API = {
    "staff-api-refused": Problem("staff API", "{error}", "correct the setting; docs/staff-api.md has an example"),
    "staff-api-certificate-expiring": Problem("staff API", "the certificate in {file} ends on {ends}", _RENEW),
    "staff-api-wrong-server": Problem(
        "staff API", "{url} answers with {found}", "check that OCTY_STAFF_URL leads to this installation's staff API"
    ),
    "staff-api-unreachable": Problem(
        "staff API", "{url}: {error}", "start `octy worker` with OCTY_STAFF_PORT, or correct OCTY_STAFF_URL"
    ),
}
OBSERVABILITY = {
    "metrics-unreachable": Problem(
        "metrics", "{url}: {error}", "check that OCTY_METRICS_HOST and OCTY_METRICS_PORT are the running worker's"
    ),
    "metrics-wrong-server": Problem(
        "metrics", "another program responds at {url}", "set OCTY_METRICS_PORT to a free port"
    ),
    "tracing-packages-missing": Problem(
        "tracing",
        "OCTY_TRACING is on, but OpenTelemetry is not installed",
        "pip install 'octy-middleware[telemetry]'",
    ),
}
