"""The embedded stack of `octy dev` and `octy demo`: on loopback, kept in one folder, gone when it stops.

Here: starting the real parts (Temporal dev server, worker, pages, mail sink, example app) and acting as their
user. Not here: what a production host needs; no other room imports this one. The extra `[dev]` has its tools.

    processes     child processes that never outlive their parent (child: the trampoline that sees to it)
    certificates  one authority and one server certificate for localhost
    temporal_server
    inbox         the mails of the sink as values; mail_sink receives them, inbox_page shows them
    environment   the OCTY_* variables of a stack and its secrets, kept in its folder
    stack         all of the above, up and down in order
    dev_command   `octy dev`
    customer      what customers do with their mails
    demo          `octy demo`: start, end, verdict (demo_acts: what people do; demo_input, demo_oracle: pure;
                  demo_readback: what happened; demo_report: how it is shown)
"""

from importlib.util import find_spec

LOOPBACK = "127.0.0.1"

_TOOLS = ("aiosmtpd", "httpx2", "trustme")


def check_extra() -> None:
    """Raise ConfigurationError with the command that mends it unless the extra `[dev]` is installed."""
    missing = [name for name in _TOOLS if find_spec(name) is None]
    if missing:
        from octy_middleware.errors import ConfigurationError  # noqa: PLC0415  # half a second for the mail sink

        raise ConfigurationError(
            f"the embedded stack needs {', '.join(missing)}: run pip install 'octy-middleware[dev]'"
        )


check_extra()  # whoever imports any part of this room gets this error, not the first ImportError
