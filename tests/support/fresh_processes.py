"""Processes for functions of tests that have nothing of this process: forks of one that has imported what they need.

A Python that starts and imports the middleware takes 0.8 s of CPU, such a fork a tenth of that. They have the
environment of the first use: a function that reads variables clears them and sets its own. `preloaded` runs programs,
which it finds by their path. Start a real Python where its start or its end is what a test is about.
"""

import multiprocessing
from multiprocessing.context import ForkServerContext

FRESH: ForkServerContext = multiprocessing.get_context("forkserver")
FRESH.set_forkserver_preload(["octy_middleware", "pytest", "support.world"])
