"""One piece of a run: a minute of it, in the calling thread, with word of how far it has come.

Here: when a piece ends, and what is told of it. Not here: the run (`run`), who asks for the next piece (the schedule's
workflow).
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable

from octy_middleware.clock import Clock
from octy_middleware.db.database import Database
from octy_worker.imports.writer import clear_interrupted
from octy_worker.maintenance.retention.run import Ended, Run
from octy_worker.settings import RetentionSettings

_logger = logging.getLogger(__name__)

_LASTS = 60.0  # seconds
_WAITS = 20.0  # seconds for a store that is away; less than the heartbeat's time


def prune_piece(
    database: Database,
    settings: RetentionSettings,
    clock: Clock,
    *,
    beat: Callable[[], bool],
    lasts: float = _LASTS,
) -> tuple[Ended, Counter[str]]:
    """Go on with the run for so many seconds at most, or until `beat`, called at each step, says to stop.

    Raises DatabaseUnavailableError when the store is away for long.
    """
    stop = threading.Event()

    def report(_done: Counter[str]) -> None:
        if beat():
            stop.set()

    over = threading.Timer(lasts, stop.set)
    over.daemon = True
    over.start()
    try:
        if removed := clear_interrupted(database, clock):
            _logger.info("%d pairs of an import that was interrupted are removed", removed)
        run = Run(database, settings, clock, stop=stop, waits=_WAITS, report=report)
        ended = run.go()
    finally:
        over.cancel()
    if any(run.done.values()):
        counts = ", ".join(f"{count} {name}" for name, count in run.done.items() if count)
        _logger.info("retention: %s: %s; longest step %.0f ms", ended, counts, run.pace.longest * 1000)
    return ended, run.done
