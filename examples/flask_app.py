"""A Flask API behind Octy keys, with Octy's account routes: `gunicorn flask_app:app`; keys: `octy secrets`."""

from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from octy_middleware import Accounts, Database, InvalidInputError, OctyWSGIMiddleware, Settings, StoreUnavailableError
from octy_middleware.envelope import fault, success

settings = Settings.from_environment(exempt_paths=("/v1/admin/application/versioning",))
accounts = Accounts(Database(settings.database_url))

app = Flask(__name__)
app.url_map.merge_slashes = False  # Octy's clients are never redirected
app.wsgi_app = OctyWSGIMiddleware(app.wsgi_app, settings=settings)  # type: ignore[method-assign]


@app.get("/v1/account/authenticate")
def authenticate() -> Response:
    return jsonify(success(f"Hello, {request.remote_user}."))


@app.get("/v1/configurations/account")
def read_account() -> Response:
    return jsonify(success("Account configurations.", account_data=accounts.contact(str(request.remote_user))))


@app.post("/v1/configurations/account/set")
def set_account() -> Response:
    data = accounts.change_contact(str(request.remote_user), request.get_json(force=True, silent=True))
    return jsonify(success("Account configurations were set.", account_data=data))


@app.get("/v1/admin/application/versioning")
def versioning() -> Response:
    return jsonify(success("Versions.", versions={"cli": "1.0.0"}))


def refuse(error: Exception) -> tuple[dict[str, Any], int, dict[str, str]]:
    body, status, headers = fault(error, getattr(error, "code", None))
    if isinstance(error, HTTPException):
        headers |= {name: value for name, value in error.get_headers() if name == "Allow"}
    return body, status, headers


for kind in (HTTPException, InvalidInputError, StoreUnavailableError, ValueError, RecursionError):
    app.register_error_handler(kind, refuse)
