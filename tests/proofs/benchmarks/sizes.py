"""How much a run measures: all of it, a quick look, or just enough to try the code."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Rounds, requests and seconds of each bench. Documents are written from a full run only."""

    name: str
    hot_rounds: int
    hot_requests: int
    other_pythons: bool  # Python 3.11 and the newest beside the running one
    instructions: bool  # of the hot paths, if valgrind is installed
    starts: int  # of a command
    process_rounds: int
    process_requests: int
    http_rounds: int
    http_seconds: float
    both_databases_on: tuple[str, ...] | None  # servers that are measured on every database; None for all
    settle_seconds: float  # after the last response until the servers' CPU clocks are read
    connections: int
    refusal_rounds: int
    refusal_seconds: float
    flood_rounds: int
    flood_seconds: float
    rates: tuple[int, ...]  # refusals a second; the highest that is sustained counts
    late_seconds: float  # after the last request was due: a server that needs longer has not kept up
    probes: int  # accepted requests a second beside a flood
    incidents: int
    keys: tuple[int, ...]
    key_rounds: int
    key_requests: int
    outcomes: tuple[int, ...]
    outcome_rounds: int
    outcome_refusals: int


_TABLE: dict[str, tuple] = {
    "name": ("full", "quick", "tiny"),
    "hot_rounds": (9, 1, 1),
    "hot_requests": (5_000, 1_000, 40),
    "other_pythons": (True, False, False),
    "instructions": (True, True, False),
    "starts": (15, 5, 1),
    "process_rounds": (20, 2, 2),
    "process_requests": (5_000, 1_000, 20),
    "http_rounds": (8, 1, 1),
    "http_seconds": (0.5, 0.15, 0.05),
    "both_databases_on": (None, ("uvicorn (httptools, uvloop)", "granian (ASGI)"), ("uvicorn (httptools, uvloop)",)),
    "settle_seconds": (0.4, 0.25, 0.0),  # more than the batch delay
    "connections": (64, 64, 4),
    "refusal_rounds": (6, 1, 1),
    "refusal_seconds": (1.5, 0.3, 0.05),
    "flood_rounds": (5, 1, 1),
    "flood_seconds": (3.0, 0.4, 0.15),
    "rates": ((2_000, 1_500, 1_000, 500), (2_000, 500), (100,)),
    "late_seconds": (0.25, 0.25, 30.0),
    "probes": (200, 200, 50),
    "incidents": (20, 2, 1),
    "keys": ((1_000, 10_000, 100_000, 1_000_000), (1_000, 10_000), (20, 60)),
    "key_rounds": (15, 3, 1),
    "key_requests": (400, 100, 10),
    "outcomes": ((1_000, 100_000, 10_000_000), (1_000, 100_000), (100, 1_000)),
    "outcome_rounds": (12, 3, 1),
    "outcome_refusals": (250, 60, 10),
}
FULL, QUICK, TINY = (Sizes(**dict(zip(_TABLE, column, strict=True))) for column in zip(*_TABLE.values(), strict=True))
SIZES = {sizes.name: sizes for sizes in (FULL, QUICK, TINY)}
