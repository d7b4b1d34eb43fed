"""A Flask API behind Octy keys, with Octy's account routes.

OCTY_PEPPERS and OCTY_DATABASE_URL come from the environment (`octy secrets` makes the first). Run it with
`gunicorn flask_app:app`, or any other WSGI server.
"""

from typing import Any

from flask import Flask, Response, abort, jsonify, request
from werkzeug.exceptions import HTTPException

from octy_middleware import Accounts, Database, InvalidInputError, OctyWSGIMiddleware, Settings, StoreUnavailableError
from octy_middleware.envelope import failure, success

settings = Settings.from_environment(exempt_paths=("/v1/admin/application/versioning",))
accounts = Accounts(Database(settings.database_url))

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 65_536  # bytes
app.url_map.merge_slashes = False  # Octy's clients are never redirected
app.wsgi_app = OctyWSGIMiddleware(app.wsgi_app, settings=settings)  # type: ignore[method-assign]


@app.get("/v1/account/authenticate")
def authenticate() -> Response:
    return jsonify(success(f"Hello, {request.remote_user}."))


@app.get("/v1/configurations/account")
def read_account() -> Response:
    return jsonify(success("Account configurations.", account_data=accounts.contact(str(request.remote_user))))


@app.post("/v1/configurations/account/set")
def set_account() -> Response | tuple[dict[str, Any], int]:
    if not request.is_json:
        abort(415)
    try:
        data = accounts.change_contact(str(request.remote_user), request.get_json(silent=True))
    except (InvalidInputError, RecursionError) as error:  # the second: JSON that is nested without end
        return failure(422, str(error), "Send a JSON object with the account's fields."), 422
    return jsonify(success("Account configurations were set.", account_data=data))


@app.get("/v1/admin/application/versioning")
def versioning() -> Response:
    return jsonify(success("Versions.", versions={"cli": "1.0.0"}))


@app.errorhandler(StoreUnavailableError)
def unavailable(_error: StoreUnavailableError) -> tuple[dict[str, Any], int, dict[str, str]]:
    body = failure(503, "The service is unavailable for the moment.", "Nothing was changed. Try again.")
    return body, 503, {"Retry-After": "5"}  # seconds


@app.errorhandler(HTTPException)
def refuse(error: HTTPException) -> Response:
    """Answer what Flask itself refuses, 404 and 405 among it, in the shape that Octy's clients read."""
    status = error.code or 500
    response = jsonify(failure(status, error.name, error.description or ""))
    response.headers.update({name: value for name, value in error.get_headers() if name == "Allow"})
    response.status_code = status
    return response
