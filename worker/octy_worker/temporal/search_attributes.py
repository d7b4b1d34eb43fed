"""Making our search attributes known to a Temporal namespace, so that workflows may set them.

Here: looking which are known, and adding what is missing; twice is harmless. Not here: what they are and what is in
them (`octy_workflows.search_attributes`), whether they are wanted (`WorkerSettings.temporal_search_attributes`).
"""

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from octy_middleware.errors import ConfigurationError
from octy_worker.temporal.client import unavailable_error
from octy_workflows.search_attributes import ATTRIBUTES

TYPES = {attribute.name: IndexedValueType.ValueType(attribute.indexed_value_type) for attribute in ATTRIBUTES}
OFF = "or set OCTY_TEMPORAL_SEARCH_ATTRIBUTES=off"
_NOT_OURS = (RPCStatusCode.ALREADY_EXISTS, RPCStatusCode.NOT_FOUND)
"""Another worker was faster; or there is no such namespace, which the SDK's worker tells in plain words."""
_FORBIDDEN = (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED, RPCStatusCode.UNAUTHENTICATED)


def create_command(namespace: str, names: list[str]) -> str:
    """Return the command by which an operator adds what is missing."""
    words = (f"--name {name} --type {_word(name)}" for name in names)
    return f"temporal operator search-attribute create --namespace {namespace} {' '.join(words)}"


def _word(name: str) -> str:
    return IndexedValueType.Name(TYPES[name]).removeprefix("INDEXED_VALUE_TYPE_").capitalize()


async def missing_attributes(client: Client) -> list[str]:
    """Return the names that the client's namespace does not know yet. Raises RPCError, or ConfigurationError.

    The latter when a name is taken for values of another type: no workflow could set it.
    """
    answer = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    known = answer.custom_attributes
    wrong = [name for name, kind in TYPES.items() if name in known and known[name] != kind]
    if wrong:
        raise ConfigurationError(f"the search attribute {wrong[0]} is there, but not as {_word(wrong[0])}: {OFF}")
    return [name for name in TYPES if name not in known]


async def add_missing_attributes(client: Client) -> None:
    """Add what is missing. Raises TemporalUnavailableError, or ConfigurationError with what to do."""
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
        if error.status in _NOT_OURS:
            return
        if error.status in _FORBIDDEN:
            raise ConfigurationError(
                f"this worker may not add search attributes: {create_command(client.namespace, names)}, {OFF}"
            ) from None
        raise unavailable_error(error, "Temporal did not tell its search attributes") from None
