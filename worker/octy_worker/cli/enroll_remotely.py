"""`octy --server URL staff enroll`: registers a one-time password or a hardware key at a staff API."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from octy_worker.cli.context import now
from octy_worker.cli.remote import server_of
from octy_worker.crypto.ssh_signer import Signer
from octy_worker.staff_api.wire import Enrolled, EnrolmentRequest
from octy_worker.staff_client.api_client import ApiClient
from octy_worker.staff_client.login import find_server


class RemoteOffice:
    """A staff API, without a session: there is none before a second factor is registered."""

    def __init__(self, client: ApiClient, installation: str) -> None:
        self._client = client
        self.server, self.installation = client.server, installation

    @classmethod
    @contextmanager
    def open(cls, context: typer.Context, signer: Signer) -> Iterator["RemoteOffice"]:
        """Open the client of --server, and close it at the end."""
        with ApiClient(server_of(context)) as client:
            yield cls(client, find_server(client, signer, now()).installation)

    def check(self, token: str) -> None:
        """Do nothing: the server says nothing about tokens before a log-in."""

    def enroll(self, request: EnrolmentRequest) -> Enrolled:
        """Register it. Raises CommandError."""
        return self._client.post("/enroll", request, Enrolled)
