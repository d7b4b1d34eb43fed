"""Explains the result of sending a mail: what the mail server did, and what to do."""

import re
from dataclasses import dataclass

from octy_worker.mail.smtp_errors import INVALID_ADDRESS, TEMPLATE, SmtpResult, SmtpStatus


@dataclass(frozen=True, slots=True)
class Explanation:
    """`problem`: what the mail server did, to follow "the mail server:". `action`: what to do."""

    problem: str
    action: str = ""


_REPLY = re.compile(r"(?P<stage>[a-z-]+)-(?P<status>\d+)")
_RETRY = "nothing to do: the worker retries such mails"
_LOGIN = "check OCTY_SMTP_USER and OCTY_SMTP_PASSWORD"
_HOST_AND_PORT = "check OCTY_SMTP_HOST and OCTY_SMTP_PORT"
_EXPLANATIONS = {
    INVALID_ADDRESS: Explanation("the recipient's address is invalid", "check its spelling"),
    TEMPLATE: Explanation("the mail template can't be rendered", "run `octy mail preview`"),
    "auth-not-offered": Explanation(
        "it accepts no log-in on this port", "leave OCTY_SMTP_USER empty, or use another port"
    ),
    "auth-no-method": Explanation(
        "it offers no supported log-in method", "ask its operator for PLAIN, LOGIN or CRAM-MD5"
    ),
    "characters": Explanation(
        "log-in or mail contain characters that SMTP can't transfer", "use ASCII in OCTY_SMTP_PASSWORD"
    ),
    "tls-not-offered": Explanation("it does not offer STARTTLS", "use another port, or OCTY_SMTP_SECURITY=tls"),
    "tls-certificate": Explanation(
        "its certificate is not trusted for this name",
        "set OCTY_SMTP_CA_FILE to its CA, and OCTY_SMTP_HOST to the name in the certificate",
    ),
    "tls": Explanation(
        "the TLS handshake failed", "set OCTY_SMTP_SECURITY to starttls for port 587, to tls for port 465"
    ),
    "dns": Explanation("its name has no DNS entry", "check OCTY_SMTP_HOST"),
    "timeout": Explanation("it did not reply in time", f"{_HOST_AND_PORT}, and check firewalls on the way"),
    "connection": Explanation("it refused or closed the connection", _HOST_AND_PORT),
    "network": Explanation("it can't be reached from this machine", "check the network"),
    "disconnected": Explanation("it closed the connection before the mail was accepted", _RETRY),
    "unfinished": Explanation("it sent no final reply", _RETRY),
}
_STAGES = {
    "server": Explanation(
        "it refused the connection or does not speak SMTP ({status})",
        f"{_HOST_AND_PORT}, and that this machine is allowed to use it",
    ),
    "auth": Explanation("it refused the log-in ({status})", _LOGIN),
    "auth-mail": Explanation("it requires a log-in ({status})", _LOGIN),
    "auth-rcpt": Explanation("it requires a log-in ({status})", _LOGIN),
    "auth-data": Explanation("it requires a log-in ({status})", _LOGIN),
    "mail": Explanation("it refused the sender's address ({status})", "check OCTY_MAIL_FROM"),
    "rcpt": Explanation(
        "it refused the recipient's address ({status})", "check the address, and that this server relays for us"
    ),
    "data": Explanation(
        "it refused the mail ({status})", "see its log for the reason, such as size, content or missing DKIM"
    ),
}


def explain(result: SmtpResult) -> Explanation:
    """Return the explanation of a result."""
    if result.status is SmtpStatus.ACCEPTED:
        return Explanation("it accepted the mail")
    found = _EXPLANATIONS.get(result.code)
    if found is not None:
        return found
    reply = _REPLY.fullmatch(result.code)
    if reply is None or reply["stage"] not in _STAGES:
        return Explanation(f"the mail could not be built ({result.code})", "this is a bug: please report it")
    stage = _STAGES[reply["stage"]]
    problem = stage.problem.format(status=reply["status"])
    if result.status is SmtpStatus.DEFERRED and not result.our_fault:
        return Explanation(f"{problem}, temporarily", _RETRY)
    return Explanation(problem, stage.action)
