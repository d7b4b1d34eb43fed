"""The whole stack, once for all end-to-end tests: Temporal, SMTP, database and web servers, over TLS."""

import sys
from collections.abc import Callable, Iterator

import pytest
from support.cli_rig import Octy
from support.databases import DATABASES, make_empty_database, remove_database
from support.octy_here import run_octy_here
from support.paths import EXAMPLES

from octy_worker.dev import staff_member
from octy_worker.dev.customer import Customer
from octy_worker.dev.processes import LOOPBACK, free_port, is_listening
from octy_worker.dev.stack import Stack
from story.api import Api, StoryAccount


@pytest.fixture(scope="session", params=DATABASES)
def stack(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Stack]:
    folder, database_kind = tmp_path_factory.mktemp("stack"), str(request.param)
    url = make_empty_database(folder, database_kind)
    database = url if database_kind == "postgresql" else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(staff_member, "run_octy", run_octy_here)
        with Stack(folder, fixed_ports=False, examples=EXAMPLES, database=database) as stack:
            yield stack
    remove_database(url)


@pytest.fixture(scope="session")
def flask_url(stack: Stack) -> str:
    """The Flask example beside the Starlette one, on the same database, under gunicorn with TLS."""
    port = free_port()
    tls = stack.folder / "tls"
    command = [
        *(sys.executable, "-m", "gunicorn", "flask_app:app", "--chdir", str(EXAMPLES), "--threads", "8"),
        *("--bind", f"{LOOPBACK}:{port}", "--log-level", "warning", "--forwarded-allow-ips", "", "--preload"),
        *("--certfile", str(tls / "server.pem"), "--keyfile", str(tls / "server.key")),
    ]
    process = stack.processes.start("flask", command, {"OCTY_TRUSTED_PROXIES": LOOPBACK})
    process.wait_until(lambda: is_listening(port), 30)
    return f"https://localhost:{port}"


@pytest.fixture
def adapter(request: pytest.FixtureRequest, stack: Stack) -> str:
    """The address of an example: behind ASGI on SQLite and WSGI on PostgreSQL, or what a test is parametrized with.

    Adapter and database don't know each other; `tests/middleware/test_adapters.py` has each on each.
    """
    on_file = stack.database_url.startswith("sqlite")
    chosen = getattr(request, "param", "asgi" if on_file else "wsgi")
    return stack.api if chosen == "asgi" else str(request.getfixturevalue("flask_url"))


@pytest.fixture(scope="session")
def octy(stack: Stack) -> Iterator[Octy]:
    """The `octy` command, as support staff runs it."""
    octy = Octy(stack.env, stack.folder)
    yield octy
    octy.close()


@pytest.fixture
def customer(stack: Stack) -> Iterator[Customer]:
    with Customer(stack.tls_context()) as customer:
        yield customer


@pytest.fixture
def account(stack: Stack, customer: Customer) -> StoryAccount:
    return StoryAccount(stack, customer)


@pytest.fixture
def connect(stack: Stack) -> Iterator[Callable[[str], Api]]:
    """Connect to an API by its address."""
    opened: list[Api] = []

    def open_api(url: str) -> Api:
        opened.append(Api(url, stack.tls_context()))
        return opened[-1]

    yield open_api
    for api in opened:
        api.close()
