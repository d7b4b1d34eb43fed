"""The least ASGI app, Starlette's own middleware around it, and FastAPI with and without its Basic dependency.

Here: the apps. Not here: their names and what each is compared with (`apps.contenders`).
"""

from secrets import compare_digest
from typing import Annotated, Any

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
BODY = {"type": "http.response.body", "body": b"ok"}
PATH = "/v1/things"


class Bare:
    """An app that answers two bytes. A class, because uvicorn takes a plain function for ASGI 2."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        await send(START)
        await send(BODY)


async def lifespan(receive: Any, send: Any) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


def starlette_around(expected: str) -> Any:
    """Return Starlette's middleware with the least that a Basic backend can do; it records nothing."""
    from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
    from starlette.middleware.authentication import AuthenticationMiddleware
    from starlette.requests import HTTPConnection

    class Trivial(AuthenticationBackend):
        async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
            if conn.headers.get("authorization") != expected:
                return None
            return AuthCredentials(["authenticated"]), SimpleUser("acme")

    return AuthenticationMiddleware(Bare(), backend=Trivial())


def fastapi_app(public_key: str = "", secret: str = "") -> Any:
    """Return a FastAPI app; with a pair, behind its HTTPBasic dependency in its usual form, a plain function."""
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
