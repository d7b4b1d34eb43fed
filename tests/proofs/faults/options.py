"""How much a run does, and how long it waits."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RunOptions:
    """`make faults` uses the defaults. Times are seconds."""

    database: str
    kills: int
    seed: int
    accounts: int = 10  # at a time
    interval: float = 1.0  # of faults, on average
    kill_point_timeout: float = 5.0
    end_timeout: float = 660.0  # after the last fault, for all work in progress
    overlap: float = 6.0  # in which a replaced key pair stays valid
    late_share: float = 0.35  # of the alerts are read late
    worker: str = "octy_worker"  # module that runs as the worker
