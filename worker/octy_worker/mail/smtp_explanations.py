"""PURE. How a send ended, in words: what each code of `faults` says about whom, and what to do.

Here: one line for every code. Not here: which fault has which code and whether it is final (`faults`).
"""

import re
from dataclasses import dataclass

from octy_worker.mail.smtp_errors import INVALID_ADDRESS, TEMPLATE, SmtpResult, SmtpStatus


@dataclass(frozen=True, slots=True)
class Explanation:
    """What happened, as half a sentence about the mail server, and what to do about it."""

    said: str
    to_do: str = ""


_REPLY = re.compile(r"(?P<stage>[a-z-]+)-(?P<status>\d+)")
_RETRY = "nothing is wrong here: the worker would try again by itself"
_LOGIN = "check OCTY_SMTP_USER and OCTY_SMTP_PASSWORD"
_HOST_AND_PORT = "check OCTY_SMTP_HOST and OCTY_SMTP_PORT"
_EXPLANATIONS = {
    INVALID_ADDRESS: Explanation("this is no address that mail can be sent to", "check how it is written"),
    TEMPLATE: Explanation("the letter's template fails", "see `octy mail preview`"),
    "auth-not-offered": Explanation(
        "it takes no log-in on this port", "leave OCTY_SMTP_USER empty, or use another port"
    ),
    "auth-no-method": Explanation(
        "it offers no way to log in that we know", "ask its operator for PLAIN, LOGIN or CRAM-MD5"
    ),
    "characters": Explanation(
        "log-in or mail have characters that SMTP can't carry", "use ASCII in OCTY_SMTP_PASSWORD"
    ),
    "tls-not-offered": Explanation("it offers no STARTTLS", "use another port, or OCTY_SMTP_SECURITY=tls"),
    "tls-certificate": Explanation(
        "its certificate is not trusted for this name",
        "give its authority in OCTY_SMTP_CA_FILE, and the name it is for in OCTY_SMTP_HOST",
    ),
    "tls": Explanation(
        "it does not speak TLS with us", "OCTY_SMTP_SECURITY is starttls for port 587, tls for port 465"
    ),
    "dns": Explanation("its name is not known to the DNS", "check OCTY_SMTP_HOST"),
    "timeout": Explanation("it did not answer in time", f"{_HOST_AND_PORT}, and that no firewall is in between"),
    "connection": Explanation("nothing listens there, or it hung up", _HOST_AND_PORT),
    "network": Explanation("it can't be reached from here", "check the network"),
    "disconnected": Explanation("it hung up in the middle of the conversation", _RETRY),
    "unfinished": Explanation("it did not say how it ended", _RETRY),
}
_STAGES = {
    "server": Explanation(
        "it does not let us in, or speaks no SMTP ({status})", f"{_HOST_AND_PORT}; may this machine use it?"
    ),
    "auth": Explanation("it refused the log-in ({status})", _LOGIN),
    "auth-mail": Explanation("it wants a log-in first ({status})", _LOGIN),
    "auth-rcpt": Explanation("it wants a log-in first ({status})", _LOGIN),
    "auth-data": Explanation("it wants a log-in first ({status})", _LOGIN),
    "mail": Explanation("it refuses our own address ({status})", "check OCTY_MAIL_FROM"),
    "rcpt": Explanation(
        "it refuses the recipient's address ({status})", "check the address; may we send through this server?"
    ),
    "data": Explanation("it refuses the message itself ({status})", "its log says why: size, content, or missing DKIM"),
}


def explain(delivery: SmtpResult) -> Explanation:
    """Return the words for how a send ended."""
    if delivery.status is SmtpStatus.ACCEPTED:
        return Explanation("it has taken the mail")
    found = _EXPLANATIONS.get(delivery.code)
    if found is not None:
        return found
    reply = _REPLY.fullmatch(delivery.code)
    if reply is None or reply["stage"] not in _STAGES:
        return Explanation(f"the message can't be made ({delivery.code})", "this is a fault of ours: please report it")
    stage = _STAGES[reply["stage"]]
    said = stage.said.format(status=reply["status"])
    if delivery.status is SmtpStatus.DEFERRED and not delivery.our_fault:
        return Explanation(f"for now {said}", _RETRY)
    return Explanation(said, stage.to_do)
