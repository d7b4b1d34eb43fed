"""One process, several sites: which app gets a request, by its Host header.

Here: the dispatch, which hands scope and environ on untouched, and the mounting of frameworks that have none. Not here:
what the sites are (`apps`) and the apps.
"""

from typing import Any

from proofs.conformance.apps import MOUNT, Build, options_by_host

_FIRST = "api.example"


def asgi_app_by_host(build: Build) -> Any:
    """Return the ASGI app of all sites. A lifespan is the first site's."""
    apps = {host.encode(): build(**options) for host, options in options_by_host().items()}

    async def sites(scope: Any, receive: Any, send: Any) -> None:
        host = dict(scope.get("headers", ())).get(b"host", b"")
        await apps.get(host, apps[_FIRST.encode()])(scope, receive, send)

    return sites


def wsgi_app_by_host(build: Build) -> Any:
    """Return the WSGI app of all sites."""
    apps = {host: build(**options) for host, options in options_by_host().items()}

    def sites(environ: Any, start_response: Any) -> Any:
        return apps.get(environ.get("HTTP_HOST"), apps[_FIRST])(environ, start_response)

    return sites


def asgi_mounted(app: Any, outer: Any = None) -> Any:
    """Return the app with itself mounted beside it: in `outer`, a framework's own mounting.

    Without one it is mounted as the ASGI specification says: `path` stays whole, `root_path` names the mount.
    """

    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        path = scope.get("path", "")
        if path != MOUNT and not path.startswith(f"{MOUNT}/"):
            await app(scope, receive, send)
        elif outer is not None:
            await outer(scope, receive, send)
        else:
            await app({**scope, "root_path": scope.get("root_path", "") + MOUNT}, receive, send)

    return mounted
