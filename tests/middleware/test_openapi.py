"""The OpenAPI document of a FastAPI app behind the middleware, read by FastAPI's own models."""

from typing import Annotated, Any

from fastapi import FastAPI, Security
from fastapi.openapi.models import OpenAPI
from fastapi.security import APIKeyHeader
from starlette.testclient import TestClient
from support.world import World

from octy_middleware import OctyASGIMiddleware, add_openapi_security

EXEMPT = ("/health", "GET /versions", "/docs", "/openapi.json")


def app(**options: Any) -> FastAPI:
    made = FastAPI()

    @made.get("/who")
    def who() -> dict[str, str]:
        return {}

    @made.get("/health")
    def health() -> dict[str, str]:
        return {}

    @made.get("/versions")
    def versions() -> dict[str, str]:
        return {}

    @made.post("/versions")
    def add_version(key: Annotated[str, Security(APIKeyHeader(name="x-own"))]) -> dict[str, str]:
        return {"key": key}

    add_openapi_security(made, exempt_paths=EXEMPT, **options)
    return made


def test_every_operation_needs_a_key_pair_unless_exempt_or_with_its_own_security() -> None:
    made = app()
    assert made.openapi() == made.openapi()
    document = OpenAPI.model_validate(made.openapi())
    assert document.components is not None
    assert document.components.securitySchemes is not None
    scheme: Any = document.components.securitySchemes["OctyKeyPair"]
    assert (scheme.type_.value, scheme.scheme) == ("http", "basic")
    raw = made.openapi()
    assert raw["security"] == [{"OctyKeyPair": []}]
    assert "security" not in raw["paths"]["/who"]["get"]
    assert raw["paths"]["/health"]["get"]["security"] == []
    assert raw["paths"]["/versions"]["get"]["security"] == []
    assert raw["paths"]["/versions"]["post"]["security"] == [{"APIKeyHeader": []}]
    assert "APIKeyHeader" in raw["components"]["securitySchemes"]


def test_optional_credentials_are_declared_optional() -> None:
    assert app(optional=True).openapi()["security"] == [{"OctyKeyPair": []}, {}]


def test_docs_page_and_document_are_served_and_its_requests_are_accepted(world: World) -> None:
    keys = world.register()
    made = app()
    made.add_middleware(OctyASGIMiddleware, settings=world.settings(exempt_paths=EXEMPT))
    with TestClient(made, base_url="https://api.example") as client:
        assert "swagger-ui" in client.get("/docs").text
        assert "OctyKeyPair" in client.get("/openapi.json").json()["components"]["securitySchemes"]
        assert client.get("/who").status_code == 401
        assert client.get("/who", auth=(keys.public_key, keys.secret)).status_code == 200
