"""Logs in at a staff API: the text is built here, signed by `ssh-keygen`, and proven by a second factor."""

from collections.abc import Callable

from octy_worker.access.login_text import LoginText
from octy_worker.access.orders import Namespace
from octy_worker.crypto.ssh_signatures import claims_verified_user
from octy_worker.crypto.ssh_signer import Signer
from octy_worker.errors import RefusedError
from octy_worker.staff_api.wire import InstallationInfo, LoggedIn, LoginRequest, Nonce, Nothing
from octy_worker.staff_client.api_client import ApiClient
from octy_worker.staff_client.session_file import SavedSession


def log_in(
    client: ApiClient, signer: Signer, handle: str, *, key: str, ask_code: Callable[[], str], now: float
) -> tuple[SavedSession, LoggedIn]:
    """Open a session. `key`: how the signer is found again. `ask_code`: returns a one-time password.

    Raises CommandError; nothing that the server says is signed but its nonce and the installation's id.
    """
    signer.check_time(now)
    told = client.get("/installation", InstallationInfo)
    if told.server != client.server:
        raise RefusedError(
            f"the server says that its URL is {told.server}", f"log in with `octy login {told.server}` if you trust it"
        )
    code = "" if signer.certificate.is_hardware_key else ask_code()  # before the nonce, which is valid for a minute
    nonce = client.post("/login/nonce", Nothing(), Nonce).nonce
    body = LoginText(client.server, told.installation, nonce, handle, int(now)).to_bytes()
    signature = signer.sign(body, Namespace.LOGIN)
    if not code and not claims_verified_user(signature):
        code = ask_code()
    opened = client.post("/login", LoginRequest(body.decode(), signature, code), LoggedIn)
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
