"""Django REST framework with and without djangorestframework-api-key, on a SQLite file of its own."""

from pathlib import Path
from typing import Any

from proofs.benchmarks.apps.bare import PATH

API_KEY = "benchpre.benchsecretbenchsecretbench"
AUTHORIZATION = f"Api-Key {API_KEY}"


def django_app(folder: Path, *, protected: bool) -> Any:
    """Return the WSGI app; one Django has both kinds, under different first parts of the path."""
    _set_up(folder)
    from django.core.wsgi import get_wsgi_application

    inner = get_wsgi_application()
    prefix = "/protected" if protected else "/open"

    def app(environ: Any, start_response: Any) -> Any:
        return inner({**environ, "PATH_INFO": prefix + environ["PATH_INFO"]}, start_response)

    return app


def _set_up(folder: Path) -> None:
    """Configure Django, once a process; its connections stay open, as under load."""
    import django
    from django.conf import settings

    if settings.configured:
        return
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "django.db"), "CONN_MAX_AGE": None}
    settings.configure(
        ALLOWED_HOSTS=["*"],
        DATABASES={"default": database},
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        INSTALLED_APPS=["rest_framework", "rest_framework_api_key"],
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
        REST_FRAMEWORK={"UNAUTHENTICATED_USER": None, "DEFAULT_AUTHENTICATION_CLASSES": []},
        ROOT_URLCONF=__name__,
        SECRET_KEY="of no use here",
    )
    django.setup()
    _make_key()
    urlpatterns.extend(_routes())


def _make_key() -> None:
    from django.core.management import call_command
    from django.db import connection
    from rest_framework_api_key.crypto import concatenate
    from rest_framework_api_key.models import APIKey

    call_command("migrate", verbosity=0)
    prefix, hashed = API_KEY.partition(".")[0], APIKey.objects.key_generator.hash(API_KEY)
    if not APIKey.objects.filter(prefix=prefix).exists():
        APIKey(id=concatenate(prefix, hashed), prefix=prefix, hashed_key=hashed, name="bench").save()
    connection.close()  # a server may fork


def _routes() -> list[Any]:
    from django.http import HttpResponse
    from django.urls import path
    from rest_framework.views import APIView
    from rest_framework_api_key.permissions import HasAPIKey

    def get(_view: APIView, _request: Any) -> HttpResponse:
        return HttpResponse(b"ok")

    views = {
        "open": type("Open", (APIView,), {"permission_classes": [], "get": get}),
        "protected": type("Protected", (APIView,), {"permission_classes": [HasAPIKey], "get": get}),
    }
    return [path(f"{name}{PATH}", view.as_view()) for name, view in views.items()]


urlpatterns: list[Any] = []
