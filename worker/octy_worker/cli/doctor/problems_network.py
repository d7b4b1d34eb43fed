"""The problems that `octy doctor` can find over the network, by their codes."""

from octy_worker.cli.doctor.problem import Problem

_MAIL = "see the mail server's log; does it take mails from OCTY_MAIL_FROM?"

TEMPORAL = {
    "temporal-refused": Problem("Temporal", "{error}", "{to_do}"),
    "temporal-away": Problem("Temporal", "{address}: {error}", "start it, or set {setting}"),
    "temporal-call-failed": Problem("{name}", "{error}", "look at Temporal's log"),
    "namespace-missing": Problem(
        "namespace",
        "there is no {namespace!r}",
        "set TEMPORAL_NAMESPACE, or: temporal operator namespace create --namespace {namespace}",
    ),
    "namespace-refused": Problem("namespace", "{error}", "{to_do}"),
    "search-attributes-refused": Problem("search attributes", "{error}"),
    "search-attributes-unreadable": Problem("search attributes", "{error}", "{to_do}"),
    "search-attributes-missing": Problem(
        "search attributes", "Temporal does not know {names}", "start `octy worker`, which adds them; or: {command}"
    ),
    "worker-missing": Problem("worker", "none asks for work on the task queue {queue!r}", "start `octy worker`"),
    "worker-of-few-queues": Problem(
        "worker", "none asks for work on the task queue {queues}", "start `octy worker` of this release"
    ),
    "worker-of-other-release": Problem(
        "worker releases",
        "{count} of the workers run another release or schema than this one ({here}): {others}",
        "bring all workers to one release",
    ),
    "temporal-clock-differs": Problem(
        "Temporal's clock",
        "Temporal's clock is about {minutes} minutes {direction} this host's; reminders come and cases close at wrong "
        "times",
        "switch on NTP on both",
    ),
    "version-not-current": Problem(
        "version", "{deployment}: {current} is current, here is {here}", "octy temporal promote"
    ),
    "version-none-current": Problem("version", "{deployment}: none is current: nothing moves", "octy temporal promote"),
    "schedules-missing": Problem(
        "schedules", "there is none for {tasks}", "start `octy worker`, which makes them; its log says why it can't"
    ),
    "schedules-paused": Problem(
        "schedules", "paused: {tasks}, so this is not done", "temporal schedule toggle --unpause --schedule-id {id}"
    ),
    "workflow-tasks-failing": Problem(
        "workflow tasks",
        "{count} workflows stand still, for their tasks fail again and again, such as {id}",
        "the worker's log and the workflow in Temporal's Web UI have the error; often a release or a key of payloads "
        "is wrong",
    ),
    "codec-server-missing": Problem(
        "codec server",
        "payloads are encrypted, and at {url} is no codec server ({error}): Temporal's Web UI shows nothing readable",
        "start `octy codec-server`, set OCTY_CODEC_URL to where it is reached, or to none where nobody reads payloads",
    ),
}
MAIL_SERVER = {
    "authority-unreadable": Problem("mail server", "OCTY_SMTP_CA_FILE: {file}: {error}", "name a PEM file"),
    "mail-server-certificate-refused": Problem(
        "mail server",
        "{place}: {error}",
        "give the authority's certificate in OCTY_SMTP_CA_FILE, and the name it is for in OCTY_SMTP_HOST",
    ),
    "mail-server-certificate-expired": Problem(
        "mail server", "{place}: {error}", "renew the certificate, and have its server read the new one"
    ),
    "mail-server-certificate-too-new": Problem(
        "mail server", "{place}: {error}", "it is not valid yet: is this host's clock right?"
    ),
    "mail-server-without-tls": Problem(
        "mail server", "{place} offers no STARTTLS", "use another port, or OCTY_SMTP_SECURITY=tls"
    ),
    "mail-server-refuses-login": Problem(
        "mail server",
        "{place} refuses the login with {code}",
        "correct OCTY_SMTP_USER and OCTY_SMTP_PASSWORD",
    ),
    "mail-server-refuses-sender": Problem(
        "mail server", "{place} answers {code} to the sender's address, so no mail leaves", _MAIL
    ),
    "mail-server-refuses-recipient": Problem(
        "mail server", "{place} takes the sender and answers {code} to a recipient, {recipient}", _MAIL
    ),
    "mail-server-refuses": Problem("mail server", "{place} answers {code} before any mail, so none leaves", _MAIL),
    "mail-server-away": Problem(
        "mail server", "{place}: {error}", "start it, or set OCTY_SMTP_HOST and OCTY_SMTP_PORT"
    ),
}
PAGES = {
    "pages-answer-an-error": Problem("pages", "{url} answers {status}", "does OCTY_PUBLIC_URL lead to the pages?"),
    "pages-are-others": Problem(
        "pages", "{url} is answered by something else", "does OCTY_PUBLIC_URL lead to the pages?"
    ),
    "pages-certificate-expired": Problem(
        "pages", "{url}: {error}", "renew the certificate, and have its server read the new one"
    ),
    "pages-certificate-too-new": Problem("pages", "{url}: {error}", "it is not valid yet: is this host's clock right?"),
    "pages-away": Problem("pages", "{url}: {error}", "start `octy worker`, or set OCTY_PUBLIC_URL"),
}
OBSERVATION = {
    "metrics-away": Problem(
        "metrics", "{url}: {error}", "is it this worker's OCTY_METRICS_HOST and OCTY_METRICS_PORT?"
    ),
    "metrics-are-others": Problem("metrics", "{url} is somebody else's", "set another port"),
    "tracing-packages-missing": Problem(
        "tracing", "OpenTelemetry is missing", "pip install 'octy-middleware[telemetry]'"
    ),
}
