"""Django with REST framework and its own authentication, and with django-ninja: set-up and routes."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from support.django_site import set_up_django

set_up_django(__name__)

from django.urls import path  # noqa: E402
from ninja import NinjaAPI  # noqa: E402
from rest_framework.decorators import api_view  # noqa: E402

from proofs.conformance.apps import OPEN, account  # noqa: E402

JSON = "application/json"
ninja = NinjaAPI(openapi_url=None)


def _who(request: Any) -> HttpResponse:
    principal = request.META.get("octy.principal")
    return HttpResponse(account(principal.reference if principal else ""), content_type=JSON)


@api_view(["GET", "POST"])
def who(request: Any) -> HttpResponse:
    return _who(request)


@api_view(["GET"])
def anybody(_request: Any) -> HttpResponse:
    return HttpResponse(OPEN, content_type=JSON)


@ninja.api_operation(["GET", "POST"], "/who")
def ninja_who(request: HttpRequest) -> HttpResponse:
    return _who(request)


@ninja.get("/open")
def ninja_open(request: HttpRequest) -> HttpResponse:
    return HttpResponse(OPEN, content_type=JSON)


rest_urls = [path("who", who), path("open", anybody)]
ninja_urls = [path("", ninja.urls)]
urlpatterns: list[Any] = []
