"""The OpenAPI 3.1 description of the staff API, generated from its endpoints and their dataclasses."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from octy_middleware._version import __version__
from octy_worker.staff.acts import ACTS
from octy_worker.staff_api.endpoints import Endpoint
from octy_worker.staff_api.wire import PREFIX

_TEMPLATE = "#/components/schemas/{model}"
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["kind", "message"],
            "properties": {
                "kind": {
                    "type": "string",
                    "description": "usage, refused, unavailable, failed, session_ended or waits_for_approval",
                },
                "message": {"type": "string", "description": "what happened → what to do"},
                "order_id": {"type": "string", "description": "of an order that waits for approval"},
            },
        }
    },
}


def describe(endpoints: Sequence[Endpoint[Any, Any]], server: str) -> Mapping[str, Any]:
    """Return the description as JSON values. `x-octy-orders`: fields and output of each action of an order."""
    keys, schemas = _schemas(endpoints)
    paths: dict[str, dict[str, Any]] = {}
    for one in endpoints:
        paths.setdefault(PREFIX + one.path, {})[one.method.lower()] = _operation(one, keys)
    orders = {
        str(action): {
            "fields": keys[f"{action} fields", "validation"],
            "private": sorted(act.private),
            "output": keys[f"{action} output", "serialization"],
        }
        for action, act in ACTS.items()
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "octy-middleware staff API", "version": __version__},
        "servers": [{"url": server}],
        "paths": paths,
        "components": {
            "schemas": {**schemas, "Error": _ERROR},
            "securitySchemes": {"session": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"session": []}],
        "x-octy-orders": orders,
    }


def _schemas(endpoints: Sequence[Endpoint[Any, Any]]) -> tuple[Mapping[Any, Any], Mapping[str, Any]]:
    """Return the schema of each input and output, and those that they refer to."""
    inputs: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = []
    for one in endpoints:
        inputs.append((f"{one.path} input", "validation", TypeAdapter(one.input)))
        inputs.append((f"{one.path} output", "serialization", TypeAdapter(one.output)))
    for action, act in ACTS.items():
        inputs.append((f"{action} fields", "validation", TypeAdapter(act.fields)))
        inputs.append((f"{action} output", "serialization", TypeAdapter(act.output)))
    found, rest = TypeAdapter.json_schemas(inputs, ref_template=_TEMPLATE)
    return found, rest.get("$defs", {})


def _operation(endpoint: Endpoint[Any, Any], keys: Mapping[Any, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.path.strip("/").replace("/", "_").replace("-", "_"),
        "summary": endpoint.summary,
        "description": f"Needs the role {endpoint.role}." if endpoint.role else "Open to everybody.",
        "responses": {
            "200": _content(keys[f"{endpoint.path} output", "serialization"], "Done."),
            "default": _content({"$ref": "#/components/schemas/Error"}, "Refused, or failed."),
        },
    }
    if endpoint.role is None:
        operation["security"] = []
    if endpoint.method == "POST":
        schema = keys[f"{endpoint.path} input", "validation"]
        operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    return operation


def _content(schema: Any, description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
