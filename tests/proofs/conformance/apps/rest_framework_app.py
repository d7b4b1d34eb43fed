"""Django REST framework with its default authentication classes, behind Django's WSGI adapter."""

from typing import Any

from django.core.wsgi import get_wsgi_application

from octy_middleware import OctyWSGIMiddleware
from proofs.conformance.apps.by_host import wsgi_app_by_host
from proofs.conformance.apps.django_apis import rest_urls, urlpatterns

urlpatterns.extend(rest_urls)


def build(**options: Any) -> Any:
    return OctyWSGIMiddleware(get_wsgi_application(), **options)


app = wsgi_app_by_host(build)
