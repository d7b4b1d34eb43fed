"""A Flask API behind Octy keys, with Octy's account routes.

OCTY_PEPPERS and OCTY_DATABASE_URL come from the environment (`octy secrets` makes the first). Run it with
`gunicorn flask_app:app`, or any other WSGI server.
"""

from typing import Any

from flask import Flask, Response, jsonify, request

from octy_middleware import Accounts, Database, InvalidInputError, OctyWSGIMiddleware, Settings
from octy_middleware.envelope import failure, success

settings = Settings.from_environment(exempt_paths=("/v1/admin/application/versioning",))
accounts = Accounts(Database(settings.database_url))

app = Flask(__name__)
app.wsgi_app = OctyWSGIMiddleware(app.wsgi_app, settings=settings)  # type: ignore[method-assign]


@app.get("/v1/account/authenticate")
def authenticate() -> Response:
    return jsonify(success(f"Hello, {request.remote_user}."))


@app.get("/v1/configurations/account")
def read_account() -> Response:
    return jsonify(success("Account configurations.", account_data=accounts.contact(str(request.remote_user))))


@app.post("/v1/configurations/account/set")
def set_account() -> Response | tuple[dict[str, Any], int]:
    try:
        data = accounts.change_contact(str(request.remote_user), request.get_json(silent=True))
    except InvalidInputError as error:
        return failure(422, str(error), "Send a JSON object with the account's fields."), 422
    return jsonify(success("Account configurations were set.", account_data=data))


@app.get("/v1/admin/application/versioning")
def versioning() -> Response:
    return jsonify(success("Versions.", versions={"cli": "1.0.0"}))
