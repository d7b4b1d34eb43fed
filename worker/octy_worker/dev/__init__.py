"""The embedded stack of `octy dev` and `octy demo`: all real parts on loopback, with their state in one folder.

Needs the extra `[dev]`. No other package imports this one.
"""

from importlib.util import find_spec

LOOPBACK = "127.0.0.1"

REQUIRED_PACKAGES = ("aiosmtpd", "httpx2", "trustme")


def check_extra() -> None:
    """Raise ConfigurationError with the command to run unless the extra `[dev]` is installed."""
    missing = [name for name in REQUIRED_PACKAGES if find_spec(name) is None]
    if missing:
        from octy_middleware.errors import ConfigurationError  # noqa: PLC0415  # half a second for the mail sink

        raise ConfigurationError(
            f"the embedded stack needs {', '.join(missing)}: run pip install 'octy-middleware[dev]'"
        )


check_extra()  # each import of this package gives this error instead of an ImportError
