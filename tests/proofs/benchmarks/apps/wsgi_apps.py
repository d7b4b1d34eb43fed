"""The least WSGI app, and Flask with and without Flask-HTTPAuth.

Here: the apps. Not here: their names and what each is compared with (`apps.contenders`).
"""

from secrets import compare_digest
from typing import Any

from proofs.benchmarks.apps.asgi_apps import PATH


def bare_wsgi(_environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


def flask_app(public_key: str = "", secret: str = "") -> Any:
    """Return a Flask app; with a pair, behind Flask-HTTPAuth's Basic authentication."""
    from flask import Flask
    from flask_httpauth import HTTPBasicAuth

    app = Flask("bench")
    auth = HTTPBasicAuth()

    @auth.verify_password
    def verify(username: str, password: str) -> str | None:
        right = compare_digest(username.encode(), public_key.encode())
        return username if compare_digest(password.encode(), secret.encode()) and right else None

    def things() -> bytes:
        return b"ok"

    app.add_url_rule(PATH, view_func=auth.login_required(things) if public_key else things)
    return app
