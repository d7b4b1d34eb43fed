"""Removes the Authorization header of an accepted request before the host app and its error tracker see it.

Adapters of AWS Lambda also keep the original event, and a2wsgi keeps the ASGI scope: it is removed there too.
"""

from collections.abc import Mapping, MutableMapping
from typing import Any

EVENT_OF_SCOPE = "aws.event"  # Mangum
_EVENTS_OF_ENVIRON = ("apig_wsgi.full_event", "serverless.event")  # apig-wsgi, serverless-wsgi
_SCOPE_OF_ENVIRON = "asgi.scope"  # a2wsgi


def hide_in_scope(scope: MutableMapping[str, Any]) -> None:
    """Remove it from an ASGI scope, in place: an outer error tracker reads this scope after an exception."""
    scope["headers"] = [header for header in scope["headers"] if header[0] != b"authorization"]
    if EVENT_OF_SCOPE in scope:
        scope[EVENT_OF_SCOPE] = _without_credentials(scope[EVENT_OF_SCOPE])


def hide_in_environ(environ: MutableMapping[str, Any]) -> None:
    """Remove it from a WSGI environ, in place."""
    del environ["HTTP_AUTHORIZATION"]
    for name in _EVENTS_OF_ENVIRON:
        if name in environ:
            environ[name] = _without_credentials(environ[name])
    if _SCOPE_OF_ENVIRON in environ:
        hide_in_scope(environ[_SCOPE_OF_ENVIRON])


def _without_credentials(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event of API Gateway or a load balancer without its Authorization headers."""
    kept = {
        name: {key: value for key, value in event[name].items() if key.lower() != "authorization"}
        for name in ("headers", "multiValueHeaders")
        if event.get(name)
    }
    return {**event, **kept}
