"""How much of everything a run takes: all of it, a quick look, or so little that only the machinery is tried.

Here: numbers. Not here: what they mean for a bench, which its module says.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Seconds, requests, rounds. Tables and documents are written of a full run only."""

    name: str
    process_rounds: int
    process_requests: int
    http_rounds: int
    http_seconds: float
    both_stores_on: tuple[str, ...] | None  # the servers that are asked on every database; None for each of them
    settle_seconds: float  # after the last answer until the servers' clocks are read
    connections: int
    refusal_rounds: int
    refusal_seconds: float
    flood_rounds: int
    flood_seconds: float
    rates: tuple[int, ...]  # refusals a second, the highest that is sustained counts
    late_seconds: float  # after the last request was due: a server that needs longer has not kept up
    probes: int  # requests a second with a right pair beside a flood
    incidents: int
    keys: tuple[int, ...]
    key_rounds: int
    key_requests: int
    outcomes: tuple[int, ...]
    outcome_rounds: int
    outcome_refusals: int


FULL = Sizes(
    name="full",
    process_rounds=20,
    process_requests=5_000,
    http_rounds=8,
    http_seconds=0.5,
    both_stores_on=None,
    settle_seconds=0.4,  # twice what an outcome lingers
    connections=64,
    refusal_rounds=6,
    refusal_seconds=1.5,
    flood_rounds=5,
    flood_seconds=3.0,
    rates=(2_000, 1_500, 1_000, 500),
    late_seconds=0.25,
    probes=200,
    incidents=20,
    keys=(1_000, 10_000, 100_000, 1_000_000),
    key_rounds=15,
    key_requests=400,
    outcomes=(1_000, 100_000, 10_000_000),
    outcome_rounds=12,
    outcome_refusals=250,
)
QUICK = Sizes(
    name="quick",
    process_rounds=4,
    process_requests=1_000,
    http_rounds=2,
    http_seconds=0.15,
    both_stores_on=None,
    settle_seconds=0.4,
    connections=64,
    refusal_rounds=2,
    refusal_seconds=0.3,
    flood_rounds=2,
    flood_seconds=0.6,
    rates=(2_000, 500),
    late_seconds=0.25,
    probes=200,
    incidents=3,
    keys=(1_000, 10_000),
    key_rounds=5,
    key_requests=100,
    outcomes=(1_000, 100_000),
    outcome_rounds=4,
    outcome_refusals=60,
)
TINY = Sizes(
    name="tiny",
    process_rounds=2,
    process_requests=20,
    http_rounds=1,
    http_seconds=0.05,
    both_stores_on=("uvicorn (httptools, uvloop)",),
    settle_seconds=0.0,
    connections=4,
    refusal_rounds=1,
    refusal_seconds=0.05,
    flood_rounds=1,
    flood_seconds=0.15,
    rates=(100,),
    late_seconds=30.0,
    probes=50,
    incidents=1,
    keys=(20, 60),
    key_rounds=1,
    key_requests=10,
    outcomes=(100, 1_000),
    outcome_rounds=1,
    outcome_refusals=10,
)
SIZES = {sizes.name: sizes for sizes in (FULL, QUICK, TINY)}
