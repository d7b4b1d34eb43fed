"""PURE. Limits on the connections of a web server: their number, and how long each phase may take.

When a limit is reached, a new connection replaces the oldest one that waits for its client: of the same address, or of
all. So neither one address nor many can block customers by holding connections open.
"""

from collections.abc import Callable, Iterator, MutableSequence, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network


class Phase(Enum):
    """What a connection waits for."""

    HANDSHAKE = "handshake"  # TLS
    HEADER = "header"  # the rest of a request's header
    BODY = "body"  # the rest of its body
    RESPONSE = "response"  # our response, or the client reading it
    IDLE = "idle"  # the next request
    CLOSING = "closing"


class ConnectionCounter(IntEnum):
    """What is counted: the index in the array of counters."""

    OPEN = 0  # connections now
    ACCEPTED = 1  # the rest: since the start
    EVICTED = 2  # closed in favour of a newer connection
    REFUSED = 3  # rejected, because no other connection could be closed
    TIMED_OUT = 4
    ACCEPT_ERRORS = 5
    STARTS = 6  # of the process, counted by its supervisor


COUNTERS = len(ConnectionCounter)
_IDLE_GRACE = 2.0  # seconds; uvicorn's own timer for idle connections comes first


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one web server. Times are seconds.

    `exempt`: peers without a limit per address, such as proxies, which connect for many clients; None: all peers.
    """

    connections: int = 256
    per_address: int = 32
    exempt: tuple[Network, ...] | None = ()
    handshake_timeout: float = 10.0
    header_timeout: float = 10.0
    body_timeout: float = 15.0
    response_timeout: float = 60.0
    idle_timeout: float = 5.0
    closing_timeout: float = 5.0

    def timeout(self, phase: Phase) -> float:
        """Return how long a connection may stay in a phase, whether or not bytes arrive meanwhile."""
        return {
            Phase.HANDSHAKE: self.handshake_timeout,
            Phase.HEADER: self.header_timeout,
            Phase.BODY: self.body_timeout,
            Phase.RESPONSE: self.response_timeout,
            Phase.IDLE: self.idle_timeout + _IDLE_GRACE,
            Phase.CLOSING: self.closing_timeout,
        }[phase]


@dataclass(eq=False, slots=True)
class Connection:
    """One accepted connection. `abort` closes it at once, in whatever phase it is."""

    address: str
    since: float
    phase: Phase = Phase.HANDSHAKE
    abort: Callable[[], object] = field(default=lambda: None)


class ConnectionTable:
    """The open connections of one server, oldest first. Not thread-safe."""

    def __init__(self, limits: Limits, clock: Callable[[], float], counters: MutableSequence[float]) -> None:
        self._limits = limits
        self._clock = clock
        self._counters = counters
        self._open: dict[Connection, None] = {}
        self._waiting: dict[Connection, None] = {}  # for their clients, longest wait first
        self._by_address: dict[str, dict[Connection, None]] = {}
        counters[ConnectionCounter.OPEN] = 0

    def __iter__(self) -> Iterator[Connection]:
        return iter(tuple(self._open))

    def admit(self, peer: str) -> Connection | None:
        """Accept a new connection, if necessary in place of an older one; None when the limit is reached."""
        address = client_network(peer)
        ours = self._by_address.get(address, {})
        limited = self._limits.exempt is not None and not _is_in_networks(peer, self._limits.exempt)
        if limited and len(ours) >= self._limits.per_address and not self._evict(_oldest_waiting(ours)):
            self._count(ConnectionCounter.REFUSED)
            return None
        if len(self._open) >= self._limits.connections and not self.evict_oldest():
            self._count(ConnectionCounter.REFUSED)
            return None
        connection = Connection(address, self._clock())
        self._open[connection] = self._waiting[connection] = None
        self._by_address.setdefault(address, {})[connection] = None
        self._count(ConnectionCounter.ACCEPTED)
        self._counters[ConnectionCounter.OPEN] = len(self._open)
        return connection

    def move(self, connection: Connection, phase: Phase) -> None:
        """Set the phase of a connection, which restarts its timeout."""
        if connection not in self._open or connection.phase is phase:
            return
        connection.phase, connection.since = phase, self._clock()
        self._waiting.pop(connection, None)
        if phase is not Phase.RESPONSE:
            self._waiting[connection] = None

    def release(self, connection: Connection) -> None:
        """Remove a closed connection. Idempotent."""
        if connection not in self._open:
            return
        del self._open[connection]
        self._waiting.pop(connection, None)
        ours = self._by_address[connection.address]
        del ours[connection]
        if not ours:
            del self._by_address[connection.address]
        self._counters[ConnectionCounter.OPEN] = len(self._open)

    def evict_oldest(self) -> bool:
        """Close the connection that has waited longest for its client; False if there is none."""
        return self._evict(next(iter(self._waiting), None))

    def expire(self) -> None:
        """Close every connection whose phase has timed out."""
        now = self._clock()
        for connection in self:
            if now - connection.since > self._limits.timeout(connection.phase):
                self._count(ConnectionCounter.TIMED_OUT)
                self._close(connection)

    def count_accept_error(self) -> None:
        """Count a failed `accept`."""
        self._count(ConnectionCounter.ACCEPT_ERRORS)

    def _evict(self, connection: Connection | None) -> bool:
        if connection is None:
            return False
        self._count(ConnectionCounter.EVICTED)
        self._close(connection)
        return True

    def _close(self, connection: Connection) -> None:
        self.release(connection)
        connection.abort()

    def _count(self, figure: ConnectionCounter) -> None:
        self._counters[figure] += 1


def _oldest_waiting(connections: dict[Connection, None]) -> Connection | None:
    return min((one for one in connections if one.phase is not Phase.RESPONSE), key=lambda one: one.since, default=None)


@lru_cache(maxsize=4096)
def client_network(peer: str) -> str:
    """Return what counts as one client: an IPv4 address, or a /64 of IPv6."""
    address = _read_address(peer)
    if address is None:
        return peer
    return str(address) if address.version == 4 else str(ip_network((address, 64), strict=False))  # noqa: PLR2004


def _is_in_networks(peer: str, networks: Sequence[Network]) -> bool:
    address = _read_address(peer)
    return address is not None and any(address in network for network in networks)


def _read_address(peer: str) -> IPv4Address | IPv6Address | None:
    """Return the address of a peer, also of an IPv4 client on an IPv6 socket; None for one that has none."""
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
