"""Adding our search attributes to a Temporal namespace, so that workflows can set them. Idempotent."""

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from octy_middleware.errors import ConfigurationError
from octy_worker.temporal.client import unavailable_error
from octy_workflows.search_attributes import ATTRIBUTES

TYPES = {attribute.name: IndexedValueType.ValueType(attribute.indexed_value_type) for attribute in ATTRIBUTES}
OFF = "or set OCTY_TEMPORAL_SEARCH_ATTRIBUTES=off"
_IGNORED = (RPCStatusCode.ALREADY_EXISTS, RPCStatusCode.NOT_FOUND)
"""Another worker has added them; or the namespace does not exist, which the SDK's worker reports clearly."""
_FORBIDDEN = (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED, RPCStatusCode.UNAUTHENTICATED)


def create_command(namespace: str, names: list[str]) -> str:
    """Return the command with which an operator adds these attributes."""
    options = (f"--name {name} --type {_type_name(name)}" for name in names)
    return f"temporal operator search-attribute create --namespace {namespace} {' '.join(options)}"


def _type_name(name: str) -> str:
    return IndexedValueType.Name(TYPES[name]).removeprefix("INDEXED_VALUE_TYPE_").capitalize()


async def missing_attributes(client: Client) -> list[str]:
    """Return the names that the client's namespace does not know yet. Raises RPCError, or ConfigurationError.

    ConfigurationError: the name exists with another type, so workflows can't set it.
    """
    answer = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    known = answer.custom_attributes
    wrong = [name for name, kind in TYPES.items() if name in known and known[name] != kind]
    if wrong:
        raise ConfigurationError(
            f"the search attribute {wrong[0]} exists, but its type is not {_type_name(wrong[0])}: {OFF}"
        )
    return [name for name in TYPES if name not in known]


async def add_missing_attributes(client: Client) -> None:
    """Add missing attributes. Raises UnavailableError, or ConfigurationError without permission."""
    names: list[str] = list(TYPES)
    try:
        names = await missing_attributes(client)
        if names:
            await client.operator_service.add_search_attributes(
                AddSearchAttributesRequest(
                    namespace=client.namespace, search_attributes={name: TYPES[name] for name in names}
                )
            )
    except RPCError as error:
        if error.status in _IGNORED:
            return
        if error.status in _FORBIDDEN:
            raise ConfigurationError(
                f"no permission to add search attributes: run {create_command(client.namespace, names)}, {OFF}"
            ) from None
        raise unavailable_error(error, "Temporal did not list its search attributes") from None
