"""The staff API of a command: which server it is, and the session there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from time import time as now

import typer

from octy_worker.cli.one_time_code import one_time_code
from octy_worker.cli.variables import PASSKEY, variables_of
from octy_worker.crypto.ssh_signer import find_signer
from octy_worker.errors import RefusedError, UsageError
from octy_worker.staff.provers import CertifiedSigner
from octy_worker.staff_client.api_client import ApiClient, read_server
from octy_worker.staff_client.remote_desk import RemoteDesk
from octy_worker.staff_client.session_file import SavedSession, load_session, sessions_folder


def server_of(context: typer.Context, given: str | None = None) -> str:
    """Return the server's URL: the one given, else --server or OCTY_SERVER. Raises UsageError."""
    url = given or variables_of(context).get("OCTY_SERVER", "")
    if not url:
        raise UsageError("no staff API is named", "name its URL, as in `octy --server https://staff.example.com …`")
    return read_server(url)


@contextmanager
def open_session(context: typer.Context) -> Iterator[tuple[ApiClient, SavedSession]]:
    """Open the client of this user's session at the server, and close it at the end. Raises RefusedError."""
    server = server_of(context)
    saved = load_session(sessions_folder(os.environ), server)
    if saved is None:
        raise RefusedError(f"you are not logged in at {server}", f"`octy login {server}`")
    with ApiClient(server, saved.token) as client:
        yield client, saved


@contextmanager
def open_remote_desk(context: typer.Context, order_id: str | None) -> Iterator[RemoteDesk]:
    """Open the desk at the staff API; `find_prover` says what signs its order."""
    by_passkey = PASSKEY in variables_of(context)
    with open_session(context) as (client, saved):
        find = partial(find_prover, context, saved)
        yield RemoteDesk(client, saved, find, clock=now, given_id=order_id, by_passkey=by_passkey)


def find_prover(context: typer.Context, saved: SavedSession) -> CertifiedSigner:
    """Return what signs: the key of --sign, else the one that logged in. Raises RefusedError or UsageError."""
    variables = variables_of(context)
    signer = find_signer(variables.get("OCTY_STAFF_KEY_FILE") or saved.key or None)
    signer.check_time(now())
    return CertifiedSigner(signer, signer.handle(saved.handle), lambda: one_time_code(variables))
