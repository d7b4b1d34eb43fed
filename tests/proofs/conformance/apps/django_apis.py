"""Django with REST framework and its own authentication, and with django-ninja, each behind Django's WSGI adapter."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from support.django_site import set_up_django

set_up_django(__name__)

from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.urls import path  # noqa: E402
from ninja import NinjaAPI  # noqa: E402
from rest_framework.decorators import api_view  # noqa: E402

from octy_middleware import OctyWSGIMiddleware  # noqa: E402
from proofs.conformance.apps import JSON, OPEN, Build, account_of, wsgi_app_by_host  # noqa: E402

_ninja = NinjaAPI(openapi_url=None)


@api_view(["GET", "POST"])
def who(request: Any) -> HttpResponse:
    return HttpResponse(account_of(request.META), content_type=JSON)


@api_view(["GET"])
def anybody(_request: Any) -> HttpResponse:
    return HttpResponse(OPEN, content_type=JSON)


@_ninja.api_operation(["GET", "POST"], "/who")
def ninja_who(request: HttpRequest) -> HttpResponse:
    return HttpResponse(account_of(request.META), content_type=JSON)


@_ninja.get("/open")
def ninja_open(request: HttpRequest) -> HttpResponse:
    return HttpResponse(OPEN, content_type=JSON)


urlpatterns = [path("rest/who", who), path("rest/open", anybody), path("ninja/", _ninja.urls)]


def _below(prefix: str) -> Build:
    """Return how the app is built whose routes are below this prefix, which is added behind the middleware."""

    def build(**options: Any) -> Any:
        django = get_wsgi_application()
        return OctyWSGIMiddleware(
            lambda environ, start: django({**environ, "PATH_INFO": prefix + environ["PATH_INFO"]}, start), **options
        )

    return build


rest_framework = wsgi_app_by_host(_below("/rest"))
ninja = wsgi_app_by_host(_below("/ninja"))
