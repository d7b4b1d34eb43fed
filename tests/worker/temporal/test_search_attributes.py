"""Search attributes: created once, errors reported, and set by workflows only where they are on."""

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from support.temporal import Temporal, open_temporal
from support.world import INSTALLATION, World
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesResponse
from temporalio.service import RPCError, RPCStatusCode

from octy_middleware.errors import ConfigurationError
from octy_worker import daemon
from octy_worker.cli.doctor.temporal import check_temporal
from octy_worker.errors import UnavailableError
from octy_worker.temporal.search_attributes import TYPES, add_missing_attributes, create_command, missing_attributes

NAMES = ["OctyState", "OctyNeedsStaff", "OctyFailures"]


@pytest.fixture
def temporal() -> Iterator[Temporal]:
    with open_temporal() as opened:
        yield opened


class Server:
    """A server that answers the operator's calls with one status."""

    namespace = "octy"

    def __init__(self, status: RPCStatusCode, *, at: str = "add") -> None:
        self._status, self._at = status, at
        self.operator_service = SimpleNamespace(list_search_attributes=self._list, add_search_attributes=self._add)

    async def _list(self, _request: object) -> ListSearchAttributesResponse:
        if self._at == "list":
            raise RPCError("no", self._status, b"")
        return ListSearchAttributesResponse()

    async def _add(self, _request: object) -> None:
        raise RPCError("no", self._status, b"")


def test_search_attributes_are_created_once_and_shown_by_doctor(temporal: Temporal, tmp_path) -> None:
    world = World(tmp_path)
    own = world.worker_settings(temporal_address=temporal.address)

    def told() -> tuple[str, str, str]:
        [check] = [found for found in check_temporal(own, INSTALLATION) if found.name == "search attributes"]
        return str(check.state), check.found, check.to_do

    state, found, to_do = told()
    assert (state, found) == ("problem", f"the namespace lacks the search attributes {', '.join(NAMES)}")
    assert create_command("default", NAMES) in to_do
    for _ in range(2):
        temporal.run(add_missing_attributes(temporal.client))
    assert temporal.run(missing_attributes(temporal.client)) == []
    assert told() == ("ok", ", ".join(NAMES), "")
    world.close()


def test_search_attribute_of_another_type_is_reported(temporal: Temporal, tmp_path) -> None:
    world = World(tmp_path)
    taken = AddSearchAttributesRequest(
        namespace="default", search_attributes={"OctyState": IndexedValueType.INDEXED_VALUE_TYPE_INT}
    )
    temporal.run(temporal.client.operator_service.add_search_attributes(taken))
    with pytest.raises(ConfigurationError, match="OctyState exists, but its type is not Keyword: or set OCTY_TEMPORAL"):
        temporal.run(add_missing_attributes(temporal.client))
    checks = check_temporal(world.worker_settings(temporal_address=temporal.address), INSTALLATION)
    assert [str(check.state) for check in checks if check.name == "search attributes"] == ["problem"]
    world.close()


@pytest.mark.parametrize("at", ["list", "add"])
def test_worker_without_permission_to_create_search_attributes_says_what_to_do(at: str) -> None:
    for status in (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED):
        with pytest.raises(ConfigurationError, match="OCTY_TEMPORAL_SEARCH_ATTRIBUTES=off") as caught:
            asyncio.run(add_missing_attributes(Server(status, at=at)))  # type: ignore[arg-type]
        assert "temporal operator search-attribute create --namespace octy --name OctyState --type Keyword" in str(
            caught.value
        )


def test_search_attributes_created_meanwhile_are_no_error_but_an_outage_is() -> None:
    asyncio.run(add_missing_attributes(Server(RPCStatusCode.ALREADY_EXISTS)))  # type: ignore[arg-type]
    with pytest.raises(UnavailableError):
        asyncio.run(add_missing_attributes(Server(RPCStatusCode.UNAVAILABLE)))  # type: ignore[arg-type]


@pytest.mark.parametrize(("setting", "known"), [("auto", True), ("off", False)])
def test_worker_creates_search_attributes_at_start_unless_off(
    temporal: Temporal, tmp_path, setting: str, known: bool
) -> None:
    world = World(tmp_path)
    own = world.worker_settings(temporal_address=temporal.address, temporal_search_attributes=setting)

    parts = daemon.WorkerComponents(own)

    async def reach() -> list[str]:
        client = await daemon.connect_with_retry(parts, asyncio.Event())
        assert client is not None
        return await missing_attributes(client)

    assert temporal.run(reach()) == ([] if known else NAMES)
    states = [str(check.state) for check in check_temporal(own, INSTALLATION) if check.name == "search attributes"]
    assert states == ["ok"]
    parts.close()
    world.close()


def test_search_attributes_have_types_that_lists_can_filter_by() -> None:
    assert {name: IndexedValueType.Name(kind) for name, kind in TYPES.items()} == {
        "OctyState": "INDEXED_VALUE_TYPE_KEYWORD",
        "OctyNeedsStaff": "INDEXED_VALUE_TYPE_BOOL",
        "OctyFailures": "INDEXED_VALUE_TYPE_INT",
    }
