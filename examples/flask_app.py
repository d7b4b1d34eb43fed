"""A Flask API behind Octy keys, with Octy's account routes: `gunicorn flask_app:app`; keys: `octy secrets`."""

import os
from typing import Any

from flask import Flask, Response, abort, jsonify, request
from werkzeug.exceptions import HTTPException

from octy_middleware import (
    Accounts,
    Database,
    DatabaseUnavailableError,
    InvalidInputError,
    OctyWSGIMiddleware,
    Settings,
)
from octy_middleware.http.error_body import exception_response, success_body

CLI_RELEASE = os.environ.get("EXAMPLE_CLI_RELEASE", "v1.0.0")  # name of the newest release of the command line

settings = Settings.from_environment(exempt_paths=("/v1/admin/application/versioning",))
accounts = Accounts(Database(settings.database_url))

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 65_536  # bytes; larger bodies are 413
app.url_map.merge_slashes = False  # Octy's clients are never redirected
app.wsgi_app = OctyWSGIMiddleware(app.wsgi_app, settings=settings)  # type: ignore[method-assign]


@app.get("/v1/account/authenticate")
def authenticate() -> Response:
    return jsonify(success_body(f"Hello, {request.remote_user}."))


@app.get("/v1/configurations/account")
def read_account() -> Response:
    return jsonify(success_body("Account configurations.", account_data=accounts.contact(str(request.remote_user))))


@app.post("/v1/configurations/account/set")
def set_account() -> Response:
    if "Origin" in request.headers:  # a request of a web page; Octy's clients are programs
        abort(403)
    if request.mimetype != "application/json":
        abort(415)  # a web page can send other types to another origin without a preflight request
    data = accounts.change_contact(str(request.remote_user), request.get_json(silent=True))
    return jsonify(success_body("Account configurations were set.", account_data=data))


@app.get("/v1/admin/application/versioning")
def versioning() -> Response:
    """Return the current release; the command line prints a notice if its own has another name."""
    version = {
        "id": "1",
        "release_id": "1",
        "version_tag": CLI_RELEASE,
        "version_name": CLI_RELEASE,
        "version_int": 1,
        "change_log": "",
        "assets": [],
        "published_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
    }
    kind = request.args.get("app", "cli")
    return jsonify(success_body("The current version.", application_type=kind, current_version=version))


def handle_error(error: Exception) -> tuple[dict[str, Any], int, dict[str, str]]:
    body, status, headers = exception_response(error, getattr(error, "code", None))
    if isinstance(error, HTTPException):
        headers |= {name: value for name, value in error.get_headers() if name == "Allow"}
    return body, status, headers


for error_type in (HTTPException, InvalidInputError, DatabaseUnavailableError, ValueError, RecursionError):
    app.register_error_handler(error_type, handle_error)
