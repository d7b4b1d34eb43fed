"""The adapters over the smallest apps there are, for real servers to serve. Here: two factories, and nothing else."""

from octy_middleware import OctyASGIMiddleware, OctyWSGIMiddleware
from proofs.fuzz.lanes import asgi_app, wsgi_app


def asgi() -> OctyASGIMiddleware:
    return OctyASGIMiddleware(asgi_app)


def wsgi() -> OctyWSGIMiddleware:
    return OctyWSGIMiddleware(wsgi_app)
