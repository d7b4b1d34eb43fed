"""PURE. How a send ended, in words: what each code of `faults` says about whom, and what to do.

Here: one line for every code. Not here: which fault has which code and whether it is final (`faults`).
"""

import re
from dataclasses import dataclass

from octy_worker.mail.smtp_errors import INVALID_ADDRESS, TEMPLATE, Delivery, Verdict


@dataclass(frozen=True, slots=True)
class Ending:
    """What happened, as half a sentence about the mail server, and what to do about it."""

    said: str
    to_do: str = ""


_REPLY = re.compile(r"(?P<stage>[a-z-]+)-(?P<status>\d+)")
_LATER = "nothing is wrong here: the worker would try again by itself"
_LOGIN = "check OCTY_SMTP_USER and OCTY_SMTP_PASSWORD"
_PLACE = "check OCTY_SMTP_HOST and OCTY_SMTP_PORT"
_WORDS = {
    INVALID_ADDRESS: Ending("this is no address that mail can be sent to", "check how it is written"),
    TEMPLATE: Ending("the letter's template fails", "see `octy mail preview`"),
    "auth-not-offered": Ending("it takes no log-in on this port", "leave OCTY_SMTP_USER empty, or use another port"),
    "auth-no-method": Ending(
        "it offers no way to log in that we know", "ask its operator for PLAIN, LOGIN or CRAM-MD5"
    ),
    "characters": Ending("log-in or mail have characters that SMTP can't carry", "use ASCII in OCTY_SMTP_PASSWORD"),
    "tls-not-offered": Ending("it offers no STARTTLS", "use another port, or OCTY_SMTP_SECURITY=tls"),
    "tls-certificate": Ending(
        "its certificate is not trusted for this name",
        "give its authority in OCTY_SMTP_CA_FILE, and the name it is for in OCTY_SMTP_HOST",
    ),
    "tls": Ending("it does not speak TLS with us", "OCTY_SMTP_SECURITY is starttls for port 587, tls for port 465"),
    "dns": Ending("its name is not known to the DNS", "check OCTY_SMTP_HOST"),
    "timeout": Ending("it did not answer in time", f"{_PLACE}, and that no firewall is in between"),
    "connection": Ending("nothing listens there, or it hung up", _PLACE),
    "network": Ending("it can't be reached from here", "check the network"),
    "disconnected": Ending("it hung up in the middle of the conversation", _LATER),
    "unfinished": Ending("it did not say how it ended", _LATER),
}
_STAGES = {
    "server": Ending("it does not let us in, or speaks no SMTP ({status})", f"{_PLACE}; may this machine use it?"),
    "auth": Ending("it refused the log-in ({status})", _LOGIN),
    "auth-mail": Ending("it wants a log-in first ({status})", _LOGIN),
    "auth-rcpt": Ending("it wants a log-in first ({status})", _LOGIN),
    "auth-data": Ending("it wants a log-in first ({status})", _LOGIN),
    "mail": Ending("it refuses our own address ({status})", "check OCTY_MAIL_FROM"),
    "rcpt": Ending(
        "it refuses the recipient's address ({status})", "check the address; may we send through this server?"
    ),
    "data": Ending("it refuses the message itself ({status})", "its log says why: size, content, or missing DKIM"),
}


def ending(delivery: Delivery) -> Ending:
    """Return the words for how a send ended."""
    if delivery.verdict is Verdict.ACCEPTED:
        return Ending("it has taken the mail")
    found = _WORDS.get(delivery.code)
    if found is not None:
        return found
    reply = _REPLY.fullmatch(delivery.code)
    if reply is None or reply["stage"] not in _STAGES:
        return Ending(f"the message can't be made ({delivery.code})", "this is a fault of ours: please report it")
    stage = _STAGES[reply["stage"]]
    said = stage.said.format(status=reply["status"])
    if delivery.verdict is Verdict.DEFERRED and not delivery.ours:
        return Ending(f"for now {said}", _LATER)
    return Ending(said, stage.to_do)
