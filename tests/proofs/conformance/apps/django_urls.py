"""Django's views and settings, for both of its adapters."""

import django
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import path

from proofs.conformance.apps import JSON, OPEN, account, length

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        DATA_UPLOAD_MAX_MEMORY_SIZE=None,
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"],  # Content-Length
        ROOT_URLCONF=__name__,
        SECRET_KEY="of no use here",
    )
    django.setup()


def who(request: HttpRequest) -> HttpResponse:
    """REMOTE_USER is WSGI's; an ASGI scope carries its user itself."""
    scope = getattr(request, "scope", None)
    reference = scope["user"].display_name if scope else request.META.get("REMOTE_USER", "")
    return HttpResponse(account(reference), content_type=JSON)


def anybody(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(OPEN, content_type=JSON)


def upload(request: HttpRequest) -> HttpResponse:
    return HttpResponse(length(request.read()), content_type=JSON)


urlpatterns = [path("who", who), path("open", anybody), path("upload", upload)]
