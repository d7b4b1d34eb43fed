"""Calling a function when the process exits.

`atexit` does not run in children that `multiprocessing` starts, granian's workers among them: these run the finalizers
of `multiprocessing` alone. Not here: signals (`signals`).
"""

import atexit
import sys
from collections.abc import Callable

_FINALIZER_PRIORITY = 10  # any: finalizers without one do not run at exit


def at_exit(function: Callable[[], object]) -> Callable[[], object]:
    """Have the function called at this process's exit, and return what takes that back."""
    process = sys.modules.get("multiprocessing.process")
    if process is None or process.parent_process() is None:
        atexit.register(function)
        return lambda: atexit.unregister(function)
    from multiprocessing.util import Finalize  # noqa: PLC0415  # loaded in such a child only

    return Finalize(None, function, exitpriority=_FINALIZER_PRIORITY).cancel
