"""Starlette's middleware around the bare app, FastAPI and Flask with and without their Basic authentication."""

from secrets import compare_digest
from typing import Annotated, Any

from proofs.benchmarks.apps.bare import PATH, Bare


def starlette_app(expected: str) -> Any:
    """Return Starlette's middleware with the smallest Basic backend; it records nothing."""
    from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
    from starlette.middleware.authentication import AuthenticationMiddleware
    from starlette.requests import HTTPConnection

    class Backend(AuthenticationBackend):
        async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
            if conn.headers.get("authorization") != expected:
                return None
            return AuthCredentials(["authenticated"]), SimpleUser("acme")

    return AuthenticationMiddleware(Bare(), backend=Backend())


def fastapi_app(public_key: str = "", secret: str = "") -> Any:
    """Return a FastAPI app; with a key pair, behind its HTTPBasic dependency in its usual form, a plain function."""
    from fastapi import Depends, FastAPI, HTTPException, Response
    from fastapi.security import HTTPBasic, HTTPBasicCredentials

    security = HTTPBasic()

    def user(credentials: Annotated[HTTPBasicCredentials, Depends(security)]) -> str:
        right = compare_digest(credentials.username.encode(), public_key.encode())
        if not (compare_digest(credentials.password.encode(), secret.encode()) and right):
            raise HTTPException(status_code=401, headers={"WWW-Authenticate": "Basic"})
        return credentials.username

    app = FastAPI(openapi_url=None)

    @app.get(PATH, dependencies=[Depends(user)] if public_key else [])
    async def things() -> Response:
        return Response(b"ok")

    return app


def flask_app(public_key: str = "", secret: str = "") -> Any:
    """Return a Flask app; with a key pair, behind Flask-HTTPAuth's Basic authentication."""
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
