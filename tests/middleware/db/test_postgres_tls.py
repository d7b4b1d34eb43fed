"""The certificate of a remote PostgreSQL server is verified unless the URL says otherwise."""

import pytest
from sqlalchemy import make_url

from octy_middleware.db.postgres import PostgresBackend
from octy_middleware.db.postgres_url import driver_options


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGSSLMODE", "PGHOST", "PGHOSTADDR", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)


def sslmode(url: str) -> str | None:
    return driver_options(PostgresBackend(make_url(url), 5.0).url).get("sslmode")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://octy@db.example/octy",
        "postgresql://octy@10.0.0.7:5432/octy",
        "postgresql://octy@/octy?host=localhost:5432&host=db.example:5432",
        "postgresql://octy@localhost/octy?hostaddr=10.0.0.7",
        "postgresql://octy@127.0.0.1.db.example/octy",
        "postgresql:///octy?service=octy",
    ],
)
def test_remote_server_is_verified_by_default(url: str) -> None:
    assert sslmode(url) == "verify-full"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://octy@127.0.0.1/octy",
        "postgresql://octy@localhost:5433/octy",
        "postgresql://octy@[::1]:5433/octy",
        "postgresql://octy@/octy",
        "postgresql://octy@/octy?host=/run/postgresql",
    ],
)
def test_server_on_this_machine_needs_no_tls(url: str) -> None:
    assert sslmode(url) is None


@pytest.mark.parametrize("mode", ["disable", "require", "verify-ca"])
def test_explicit_sslmode_is_used(url_mode: str, mode: str) -> None:
    assert sslmode(f"{url_mode}?sslmode={mode}") == mode


@pytest.fixture
def url_mode() -> str:
    return "postgresql://octy@db.example/octy"


def test_libpq_variables_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db.example")
    assert sslmode("postgresql:///octy") == "verify-full"
    monkeypatch.setenv("PGSSLMODE", "require")
    assert sslmode("postgresql:///octy") is None
