"""`octy login`, `octy logout` and `octy sessions`: options and help texts."""

import os
from pathlib import Path
from typing import Annotated

import typer

from octy_worker.cli.context import now
from octy_worker.cli.lazy_command import help_page
from octy_worker.cli.one_time_code import one_time_code
from octy_worker.cli.options import AsJson, CertificateHandle
from octy_worker.cli.output import format_time, print_json, print_lines, print_note, print_page, print_result, table
from octy_worker.cli.remote import open_session, server_of
from octy_worker.cli.variables import variables_of
from octy_worker.crypto.ssh_signer import Signer, find_signer
from octy_worker.errors import CommandError
from octy_worker.staff_api.wire import Nothing, SessionId, SessionList
from octy_worker.staff_client import login as logins
from octy_worker.staff_client.api_client import ApiClient
from octy_worker.staff_client.session_file import load_session, remove_session, save_session, sessions_folder

LOGIN_JSON = "server, handle, role, factor, session, expires_at; with --browser server, code, url, expires_in"
SESSIONS_JSON = (
    "sessions[id, handle, role, kind, factor, source, certificate_serial, created_at, last_used_at, expires_at, "
    "current]"
)
_Url = Annotated[
    str | None,
    typer.Argument(metavar="URL", help="The staff API. Default: --server or OCTY_SERVER.", show_default=False),
]


@help_page(
    "octy --sign ~/.ssh/id_ed25519 login https://staff.example.com",
    "octy login https://staff.example.com",
    "octy login https://staff.example.com --browser",
    more="Your SSH certificate signs the log-in, by its file or by the agent, and a one-time code or a key that "
    "verifies its user is the second factor. The session is kept in a file that only you can read, under "
    "$XDG_STATE_HOME/octy. It ends after 30 minutes without use, after 12 hours, and with the certificate. With "
    "--browser no session is opened here: a code is shown, to be typed within a minute into the page that waits. "
    "SSL_CERT_FILE names the authorities of the server's certificate, where they are not the system's.",
    json=LOGIN_JSON,
)
def login(
    context: typer.Context,
    url: _Url = None,
    handle: CertificateHandle = "",
    browser: Annotated[bool, typer.Option("--browser", help="Show a code, and log in in a browser.")] = False,
    as_json: AsJson = False,
) -> None:
    """Open a session and save it."""
    variables = variables_of(context)
    server = server_of(context, url)
    key = variables.get("OCTY_STAFF_KEY_FILE", "")
    signer = find_signer(key or None)
    if browser:
        _log_in_in_browser(server, signer, signer.handle(handle), as_json=as_json)
        return
    with ApiClient(server) as client:
        saved, opened = logins.log_in(
            client, signer, signer.handle(handle), key=str(Path(key).expanduser().absolute()) if key else "",
            ask_code=lambda: one_time_code(variables), now=now(),
        )  # fmt: skip
    save_session(sessions_folder(os.environ), saved)
    session = opened.session
    value = {
        "server": server, "handle": session.handle, "role": session.role, "factor": session.factor,
        "session": session.id, "expires_at": session.expires_at,
    }  # fmt: skip
    lines = [
        f"You are logged in at {server} as {session.handle}, {session.role}, until {format_time(session.expires_at)}.",
        f"Now: octy --server {server} incidents list; or set OCTY_SERVER={server}",
    ]
    print_result(value, lines, as_json=as_json)


def _log_in_in_browser(server: str, signer: Signer, handle: str, *, as_json: bool) -> None:
    with ApiClient(server) as client:
        made = logins.begin_in_browser(client, signer, handle, now=now())
    value = {"server": server, "code": made.code, "url": made.url, "expires_in": made.expires_in}
    lines = [
        f"Your code: {made.code}",
        f"Type it within {made.expires_in:g} s into the page at {made.url}, or into that of your enrolment link.",
    ]
    print_result(value, lines, as_json=as_json)


@help_page("octy logout", "octy logout https://staff.example.com")
def logout(context: typer.Context, url: _Url = None) -> None:
    """End the session at the server, and remove its file."""
    server, folder = server_of(context, url), sessions_folder(os.environ)
    saved = load_session(folder, server)
    if saved is None:
        print_note(f"There is no session at {server}.")
        return
    remove_session(folder, server)
    try:
        with ApiClient(server, saved.token) as client:
            client.post("/logout", Nothing(), Nothing)
    except CommandError as error:
        raise CommandError(f"the session's file is removed, but the server did not end it: {error}") from None
    print_lines(f"You are logged out from {server}.")


@help_page(
    "octy --server https://staff.example.com sessions list",
    more="An admin sees the sessions of everybody.",
    json=SESSIONS_JSON,
)
def list_sessions(context: typer.Context, as_json: AsJson = False) -> None:
    """Show one line for each open session."""
    with open_session(context) as (client, _saved):
        found = client.get("/sessions", SessionList).sessions
    if as_json:
        print_json({"sessions": found})
        return
    columns = ("session", "who", "role", "kind", "from", "last used", "ends", "this one")
    rows = [
        (one.id, one.handle, one.role, one.kind, one.source, one.last_used_at, one.expires_at, one.current)
        for one in found
    ]
    print_page(table(columns, rows, no_wrap={"session"}))


@help_page("octy sessions end 0199f2c4-7d1e-7000-8000-000000000000", more="An admin may end anybody's.")
def end_session(
    context: typer.Context, session: Annotated[str, typer.Argument(metavar="SESSION", help="The session's id.")]
) -> None:
    """End one session."""
    with open_session(context) as (client, _saved):
        client.post("/sessions/end", SessionId(session), Nothing)
    print_lines(f"Session {session} is ended.")
