"""Calls a function when the process exits.

`atexit` does not run in children that `multiprocessing` starts, such as granian's workers: these run only the
finalizers of `multiprocessing`.
"""

import atexit
import sys
from collections.abc import Callable

_FINALIZER_PRIORITY = 10  # any value: finalizers without one do not run at exit


def at_exit(function: Callable[[], object]) -> Callable[[], object]:
    """Call the function when this process exits; return a function that cancels it."""
    process = sys.modules.get("multiprocessing.process")
    if process is None or process.parent_process() is None:
        atexit.register(function)
        return lambda: atexit.unregister(function)
    from multiprocessing.util import Finalize  # noqa: PLC0415  # pragma: no cover - in such a child only

    return Finalize(None, function, exitpriority=_FINALIZER_PRIORITY).cancel  # pragma: no cover - as above
