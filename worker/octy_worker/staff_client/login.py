"""Logs in at a staff API: the text is built here, signed by `ssh-keygen`, and proven by a second factor."""

from collections.abc import Callable

from octy_worker.access.login_text import LoginText
from octy_worker.access.orders import Namespace
from octy_worker.crypto.ssh_signatures import claims_verified_user
from octy_worker.crypto.ssh_signer import Signer
from octy_worker.errors import RefusedError
from octy_worker.staff_api.wire import BrowserCode, InstallationInfo, LoggedIn, LoginRequest, Nonce, Nothing
from octy_worker.staff_client.api_client import ApiClient
from octy_worker.staff_client.session_file import SavedSession


def log_in(
    client: ApiClient, signer: Signer, handle: str, *, key: str, ask_code: Callable[[], str], now: float
) -> tuple[SavedSession, LoggedIn]:
    """Open a session. `key`: how the signer is found again. `ask_code`: returns a one-time password.

    Raises CommandError; nothing that the server says is signed but its nonce and the installation's id.
    """
    told = find_server(client, signer, now)
    code = "" if signer.certificate.is_hardware_key else ask_code()  # before the nonce, which is valid for a minute
    body, signature = _sign_text(client, signer, told, handle, now)
    if not code and not claims_verified_user(signature):
        code = ask_code()
    opened = client.post("/login", LoginRequest(body, signature, code), LoggedIn)
    session = opened.session
    saved = SavedSession(
        server=client.server,
        installation=told.installation,
        handle=session.handle,
        session_id=session.id,
        key=key,
        expires_at=session.expires_at.isoformat(),
        token=opened.token,
    )
    return saved, opened


def begin_in_browser(client: ApiClient, signer: Signer, handle: str, *, now: float) -> BrowserCode:
    """Return a code for the page that waits in a browser; the second factor comes there. Raises CommandError."""
    body, signature = _sign_text(client, signer, find_server(client, signer, now), handle, now)
    return client.post("/login/browser", LoginRequest(body, signature), BrowserCode)


def find_server(client: ApiClient, signer: Signer, now: float) -> InstallationInfo:
    """Return which installation answers. Raises RefusedError when it says that it is another server."""
    signer.check_time(now)
    told = client.get("/installation", InstallationInfo)
    if told.server != client.server:
        raise RefusedError(
            f"the server says that its URL is {told.server}", f"log in with `octy login {told.server}` if you trust it"
        )
    return told


def _sign_text(client: ApiClient, signer: Signer, told: InstallationInfo, handle: str, now: float) -> tuple[str, str]:
    """Return the text of a log-in and its signature."""
    nonce = client.post("/login/nonce", Nothing(), Nonce).nonce
    body = LoginText(client.server, told.installation, handle, int(now), nonce).to_bytes()
    return body.decode(), signer.sign(body, Namespace.LOGIN)
