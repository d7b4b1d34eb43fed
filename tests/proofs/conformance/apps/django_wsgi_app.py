"""Django behind its WSGI adapter."""

from typing import Any

from django.core.wsgi import get_wsgi_application
from werkzeug.middleware.dispatcher import DispatcherMiddleware

import proofs.conformance.apps.django_urls  # noqa: F401 - Django's set-up
from octy_middleware import OctyWSGIMiddleware
from proofs.conformance.apps import MOUNT, wsgi_app_by_host


def build(**options: Any) -> Any:
    app = OctyWSGIMiddleware(get_wsgi_application(), **options)
    return DispatcherMiddleware(app, {MOUNT: app})


app = wsgi_app_by_host(build)
