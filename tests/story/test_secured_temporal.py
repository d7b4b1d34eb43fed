"""End to end with a Temporal that requires TLS: by a client certificate, and by an API key."""

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.cli_rig import Octy
from support.temporal_ends import Certificates, End, tls_end
from support.until import TIMEOUT

from octy_worker.dev.customer import Customer
from octy_worker.dev.processes import is_listening
from octy_worker.dev.stack import Stack
from story.api import Api, StoryAccount

API_KEY = "canary-temporal-api-key"
NO_PLAINTEXT = {"OCTY_TEMPORAL_ADDRESS": "", "OCTY_TEMPORAL_NAMESPACE": ""}  # the address of the server behind

# The connection to Temporal is the same with each database.
pytestmark = pytest.mark.parametrize("stack", ["sqlite"], indirect=True, scope="session")


class Secured:
    """A TLS end before the stack's Temporal, and workers and commands that know no other way to it."""

    def __init__(self, stack: Stack, end: End) -> None:
        self.stack, self.end = stack, end
        self._commands: list[Octy] = []

    def start_worker(self, variables: dict[str, str]) -> Octy:
        """Start a worker in place of the one before; return commands with the same variables."""
        command = [sys.executable, "-m", "octy_worker", "worker"]
        process = self.stack.processes.start("worker", command, {**NO_PLAINTEXT, **variables})
        process.wait_until(lambda: is_listening(urlsplit(self.stack.pages).port or 0), TIMEOUT)
        self._commands.append(Octy({**self.stack.env, **NO_PLAINTEXT, **variables}, self.stack.folder))
        return self._commands[-1]

    def close(self) -> None:
        """End what is connected: the end goes after them."""
        for octy in self._commands:
            octy.close()
        self.stack.processes["worker"].stop(TIMEOUT)


@contextmanager
def secured(stack: Stack, certificates: Certificates, **demands: object) -> Iterator[Secured]:
    behind = stack.temporal_address
    with tls_end(behind, certificates, **demands) as end, closing(Secured(stack, end)) as opened:  # type: ignore[arg-type]
        yield opened


@pytest.fixture(scope="module", autouse=True)
def restored_worker(stack: Stack) -> Iterator[None]:
    """Leave the other stories the stack's own worker."""
    yield
    stack.start_worker()


def run_the_story(stack: Stack, customer: Customer, octy: Octy) -> None:
    """Attack, alert, answer, new keys; then a second incident that staff decides by the command."""
    account, api = StoryAccount(stack, customer), Api(stack.api, stack.tls_context())
    old = account.register()
    api.fail(old, 20)
    customer.answer_alert(account.wait_for_mail("alert"), "not_us", leaked=True)
    assert api.refused_within(old, 1.0)
    new = customer.collect_keys(account.wait_for_mail("new_keys", 2))
    assert (api.status(new), api.status(old)) == (200, 401)
    account.wait_for_state("closed")

    other = StoryAccount(stack, customer)
    attacked = other.register()
    api.fail(attacked, 20)
    other.wait_for_mail("alert")
    [(incident, *_)] = other.incidents()
    octy.shell("incidents", "decide", incident, "regenerate", "--reason", "by phone").must()
    assert api.status(customer.collect_keys(other.wait_for_mail("new_keys", 2))) == 200
    api.close()


def refused(octy: Octy, **variables: str) -> str:
    """Return what a command, then the doctor, say about a connection; both must refuse it in the same words."""
    done = octy.shell("incidents", "reconcile", **variables).must(4)
    [line] = done.stderr.splitlines()
    sentence = line.removeprefix("octy: ")
    found = octy.shell("doctor", "--json", **variables).must(1)
    [check] = [check for check in found.json["checks"] if check["name"] == "Temporal"]
    assert f"{check['found']} → {check['to_do']}" == sentence
    return sentence


def test_worker_connects_with_client_certificate_and_is_rejected_without_one(
    stack: Stack, customer: Customer, tmp_path: Path
) -> None:
    certificates, foreign = Certificates.make(tmp_path / "certificates"), Certificates.make(tmp_path / "foreign")
    client = {
        "TEMPORAL_TLS_CLIENT_CERT_PATH": str(certificates.client),
        "TEMPORAL_TLS_CLIENT_KEY_PATH": str(certificates.client_key),
    }
    with secured(stack, certificates, client_certificate=True) as opened:
        end = opened.end
        octy = opened.start_worker(
            {
                "TEMPORAL_ADDRESS": end.address,
                "TEMPORAL_NAMESPACE": "default",
                "TEMPORAL_TLS_SERVER_CA_CERT_PATH": str(certificates.ca),
                **client,
            }
        )
        run_the_story(stack, customer, octy)
        assert end.seen >= 2  # the worker's and the command's
        assert f"{end.address}, TLS, client certificate" in octy.shell("doctor").stdout

        assert "requires a client certificate that it trusts → set TEMPORAL_TLS_CLIENT_CERT_PATH" in refused(
            octy, **dict.fromkeys(client, "")
        )
        assert "requires a client certificate that it trusts" in refused(
            octy,
            TEMPORAL_TLS_CLIENT_CERT_PATH=str(foreign.client),
            TEMPORAL_TLS_CLIENT_KEY_PATH=str(foreign.client_key),
        )
        assert (
            "signed by an untrusted authority → set TEMPORAL_TLS_SERVER_CA_CERT_PATH to the certificate of "
            "that authority" in refused(octy, TEMPORAL_TLS_SERVER_CA_CERT_PATH=str(foreign.ca))
        )
        assert "don't match" in refused(octy, TEMPORAL_TLS_CLIENT_KEY_PATH=str(foreign.client_key))


def test_worker_connects_with_api_key_of_a_profile_and_is_rejected_with_a_wrong_one(
    stack: Stack, customer: Customer, tmp_path: Path
) -> None:
    certificates = Certificates.make(tmp_path / "certificates")
    with secured(stack, certificates, api_key=API_KEY) as opened:
        end = opened.end
        profile = tmp_path / "temporal.toml"
        profile.write_text(
            f'[profile.octy]\naddress = "{end.address}"\nnamespace = "default"\napi_key = "{API_KEY}"\n'
            f'[profile.octy.tls]\nserver_ca_cert_path = "{certificates.ca}"\n'
        )
        variables = {"TEMPORAL_CONFIG_FILE": str(profile), "TEMPORAL_PROFILE": "octy"}
        end.api_key = "renewed"  # the worker's own key is wrong
        octy = opened.start_worker(variables)
        said = "rejects the API key, or requires one → set TEMPORAL_API_KEY to a valid key; retrying"
        worker = stack.processes["worker"]
        worker.wait_until(lambda: said in worker.log_tail(), TIMEOUT)
        assert end.refused >= 1
        end.api_key = API_KEY  # an outage, as any other: it goes on by itself

        run_the_story(stack, customer, octy)
        assert end.seen >= 2
        assert f"{end.address}, TLS, API key" in octy.shell("doctor").stdout
        before = end.refused
        assert "rejects the API key, or requires one → set TEMPORAL_API_KEY" in refused(
            octy, TEMPORAL_API_KEY="wrong-key"
        )
        assert end.refused > before
        for path in (*stack.folder.glob("logs/*"), stack.env_file):
            assert API_KEY not in path.read_text(), path
