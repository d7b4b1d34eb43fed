"""End to end with a Temporal that requires TLS: by a client certificate, and by an API key."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from support.temporal_ends import Certificates, End, tls_end

from octy_worker.dev.customer import Customer
from octy_worker.dev.stack import Stack
from story.api import Api, Crew
from story.conftest import EXAMPLES

API_KEY = "canary-temporal-api-key"


class SecuredStack(Stack):
    """A stack whose worker and commands know the TLS end only."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, fixed_ports=False, examples=EXAMPLES)
        self.temporal_variables: Mapping[str, str] = {}

    def _variables(self) -> dict[str, str]:
        ours = super()._variables()
        del ours["OCTY_TEMPORAL_ADDRESS"], ours["OCTY_TEMPORAL_NAMESPACE"]
        return {**ours, **self.temporal_variables}


def octy(stack: Stack, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "octy_worker", *words],
        env={**stack.command_environment(), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def without(stack: Stack, name: str) -> dict[str, str]:
    """Return variables that leave one setting of the connection out."""
    return {each: "" for each in stack.env if each.startswith(name)}


def run_the_story(stack: Stack) -> None:
    """Attack, alert, answer, new keys; then a second incident that staff decides by the command."""
    with Customer(stack.tls_context()) as customer:
        crew, api = Crew(stack, customer), Api(stack.api, stack.tls_context())
        old = crew.register()
        api.fail(old, 20)
        customer.answer_alert(crew.wait_for_mail("alert"), "not_us", leaked=True)
        assert api.refused_within(old, 1.0)
        new = customer.collect_keys(crew.wait_for_mail("new_keys", 2))
        assert (api.status(new), api.status(old)) == (200, 401)
        crew.wait_for_state("closed")

        other = Crew(stack, customer)
        attacked = other.register()
        api.fail(attacked, 20)
        other.wait_for_mail("alert")
        [(incident, *_)] = other.incidents()
        decided = octy(stack, "incidents", "decide", incident, "regenerate", "--actor", "ann", "--reason", "by phone")
        assert decided.returncode == 0, decided.stderr
        assert api.status(customer.collect_keys(other.wait_for_mail("new_keys", 2))) == 200
        api.close()


def refused(stack: Stack, **variables: str) -> str:
    """Return what a command, then the doctor, say about a connection; both must refuse it in the same words."""
    done = octy(stack, "incidents", "reconcile", **variables)
    assert done.returncode == 4, done.stdout
    [line] = done.stderr.splitlines()
    sentence = line.removeprefix("octy: ")
    found = octy(stack, "doctor", "--json", **variables)
    assert found.returncode == 1
    [check] = [check for check in json.loads(found.stdout)["checks"] if check["name"] == "Temporal"]
    assert f"{check['found']} → {check['to_do']}" == sentence
    return sentence


@contextmanager
def secured(folder: Path, **demands: object) -> Iterator[tuple[SecuredStack, End, Certificates]]:
    stack, certificates = SecuredStack(folder / "stack"), Certificates.make(folder / "certificates")
    with tls_end(stack.temporal_address, certificates, **demands) as end:  # type: ignore[arg-type]
        stack.temporal_variables = {
            "TEMPORAL_ADDRESS": end.address,
            "TEMPORAL_NAMESPACE": "default",
            "TEMPORAL_TLS_SERVER_CA_CERT_PATH": str(certificates.ca),
        }
        yield stack, end, certificates


def test_worker_connects_with_client_certificate_and_is_rejected_without_one(tmp_path: Path) -> None:
    with secured(tmp_path, client_certificate=True) as (stack, end, certificates):
        stack.temporal_variables = {
            **stack.temporal_variables,
            "TEMPORAL_TLS_CLIENT_CERT_PATH": str(certificates.client),
            "TEMPORAL_TLS_CLIENT_KEY_PATH": str(certificates.client_key),
        }
        with stack:
            run_the_story(stack)
            assert end.seen >= 2  # the worker's and the command's
            assert f"{end.address}, TLS, client certificate" in octy(stack, "doctor").stdout

            assert "requires a client certificate that it trusts → set TEMPORAL_TLS_CLIENT_CERT_PATH" in refused(
                stack, **without(stack, "TEMPORAL_TLS_CLIENT")
            )
            foreign = Certificates.make(tmp_path / "foreign")
            assert "requires a client certificate that it trusts" in refused(
                stack,
                TEMPORAL_TLS_CLIENT_CERT_PATH=str(foreign.client),
                TEMPORAL_TLS_CLIENT_KEY_PATH=str(foreign.client_key),
            )
            assert (
                "signed by an untrusted authority → set TEMPORAL_TLS_SERVER_CA_CERT_PATH to the certificate of "
                "that authority" in refused(stack, TEMPORAL_TLS_SERVER_CA_CERT_PATH=str(foreign.ca))
            )
            assert "don't match" in refused(stack, TEMPORAL_TLS_CLIENT_KEY_PATH=str(foreign.client_key))


def test_worker_connects_with_api_key_of_a_profile_and_is_rejected_with_a_wrong_one(tmp_path: Path) -> None:
    with secured(tmp_path, api_key=API_KEY) as (stack, end, certificates):
        profile = tmp_path / "temporal.toml"
        profile.write_text(
            f'[profile.octy]\naddress = "{end.address}"\nnamespace = "default"\napi_key = "{API_KEY}"\n'
            f'[profile.octy.tls]\nserver_ca_cert_path = "{certificates.ca}"\n'
        )
        stack.temporal_variables = {"TEMPORAL_CONFIG_FILE": str(profile), "TEMPORAL_PROFILE": "octy"}
        with stack:
            run_the_story(stack)
            assert end.seen >= 2
            assert f"{end.address}, TLS, API key" in octy(stack, "doctor").stdout

            assert "rejects the API key, or requires one → set TEMPORAL_API_KEY" in refused(
                stack, TEMPORAL_API_KEY="wrong-key"
            )
            assert end.refused >= 1

            end.api_key = "renewed"  # the worker's own key is wrong from now on
            stack.processes["worker"].stop(30)
            stack.start_worker()
            worker = stack.folder / "logs" / "worker.log"
            said = "rejects the API key, or requires one → set TEMPORAL_API_KEY to a valid key; retrying"
            stack.processes["worker"].wait_until(lambda: said in worker.read_text(), 30)
            end.api_key = API_KEY  # an outage, as any other: it goes on by itself
            with Customer(stack.tls_context()) as customer:
                Crew(stack, customer).register()
            for path in (*stack.folder.glob("logs/*"), stack.env_file):
                assert API_KEY not in path.read_text(), path
