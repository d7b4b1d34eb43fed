"""The apps under load: one behind each adapter, with routes that revoke a key pair and set the process's wall clock."""

import os
import time
from collections.abc import Callable

_real = time.time
_ahead = 0.0


def _jumping() -> float:
    return _real() + _ahead


time.time = _jumping  # before anything of ours takes it for its clock

from flask import Flask  # noqa: E402
from flask import request as flask_request  # noqa: E402
from starlette.applications import Starlette  # noqa: E402
from starlette.middleware import Middleware  # noqa: E402
from starlette.requests import Request  # noqa: E402
from starlette.responses import PlainTextResponse  # noqa: E402
from starlette.routing import Route  # noqa: E402
from support.in_session import in_session  # noqa: E402

from octy_middleware import Database, OctyASGIMiddleware, OctyWSGIMiddleware, Settings  # noqa: E402
from octy_worker.staff import key_orders  # noqa: E402

settings = Settings.from_environment()
database = Database(settings.database_url)  # not the middleware's own object: the process is what counts


def revoke(public_key: str) -> str:
    """Revoke a key pair as `octy keys revoke` does, in this very process."""
    in_session(database, key_orders.revoke, public_key, actor="staff", reason="under load", now=_real())
    return "revoked"


def jump(seconds: str) -> str:
    """Set this process's wall clock: ahead, or back."""
    global _ahead  # noqa: PLW0603
    _ahead = float(seconds)
    return "jumped"


def process_id(_text: str) -> str:
    return str(os.getpid())


def _for_flask(act: Callable[[str], str]) -> Callable[[], str]:
    return lambda: act(flask_request.args.get("of", ""))


def _for_starlette(act: Callable[[str], str]) -> Callable[[Request], PlainTextResponse]:
    return lambda request: PlainTextResponse(act(request.query_params.get("of", "")))


flask_app, routes = Flask(__name__), []
for path, act in {"/v1/account/authenticate": process_id, "/revoke": revoke, "/jump": jump}.items():
    flask_app.add_url_rule(path, path, _for_flask(act), methods=["GET", "POST"])
    routes.append(Route(path, _for_starlette(act), methods=["GET", "POST"]))
flask_app.wsgi_app = OctyWSGIMiddleware(flask_app.wsgi_app, settings=settings)
starlette_app = Starlette(routes=routes, middleware=[Middleware(OctyASGIMiddleware, settings=settings)])
