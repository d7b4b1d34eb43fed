"""Django with REST framework as it comes with its own authentication: set-up by code, for sites without a project."""

import django
from django.conf import settings


def set_up_django(urls: str) -> None:
    """Configure Django, once in a process and before imports that need it. `urls`: the module with `urlpatterns`."""
    settings.configure(
        ALLOWED_HOSTS=["*"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "rest_framework"],
        MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
        ROOT_URLCONF=urls,
        SECRET_KEY="of no use here",
    )
    django.setup()
