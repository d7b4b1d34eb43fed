"""Detects hosts without threads of the app (uWSGI), and hosts that freeze the process between requests (AWS Lambda)."""

import re
from collections.abc import Mapping
from typing import Protocol

from octy_middleware.errors import ConfigurationError

_THREADS_BY_DEFAULT = (2, 0, 27)  # uWSGI's release; before it, threads of the app do not run between requests
_THREAD_OPTIONS = ("enable-threads", "threads")
# Set by hosts that freeze a process, or take its processor away, once the response is sent.
_FREEZING_HOST_VARIABLES = ("AWS_LAMBDA_RUNTIME_API", "K_SERVICE", "FUNCTIONS_WORKER_RUNTIME")


class UWSGI(Protocol):
    """The module `uwsgi`, which exists in processes of uWSGI only."""

    opt: Mapping[str, object]
    version: bytes


def require_threads(uwsgi: UWSGI | None) -> None:
    """Raise ConfigurationError, with what to do, if threads of the app do not run between requests.

    A thread that is stopped during a commit would hold the database's write lock for ever.
    """
    if uwsgi is None:
        return
    release = tuple(int(part) for part in re.findall(r"\d+", uwsgi.version.decode())[:3])
    given = {str(name): value for name, value in uwsgi.opt.items()}
    enabled = any(given.get(name) not in (None, False, b"false", b"0") for name in _THREAD_OPTIONS)
    if release < _THREADS_BY_DEFAULT and not enabled:
        raise ConfigurationError(
            "uWSGI runs without threads: outcomes could not be recorded, and the database would stay locked. "
            "Set `enable-threads = true` in uWSGI's configuration, or start it with --enable-threads"
        )


def freezes_between_requests(environ: Mapping[str, str]) -> bool:
    """Return whether the host freezes processes between requests: Lambda, Cloud Run, Azure Functions."""
    return any(environ.get(name) for name in _FREEZING_HOST_VARIABLES)
