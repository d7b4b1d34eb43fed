"""The worker of the test suite's small run: as the product's, but what a killed worker had in hand is tried again soon.

Here: two times of `octy_workflows.retry`. `make faults` runs the product's own, where that takes up to a minute.
"""

import runpy
from datetime import timedelta

from temporalio.common import RetryPolicy

from octy_workflows.retry import DEFAULT_RETRY, MAIL_RETRY

for patience, seconds in ((DEFAULT_RETRY, 3), (MAIL_RETRY, 5)):
    patience["start_to_close_timeout"] = timedelta(seconds=seconds)
    patience["retry_policy"] = RetryPolicy(
        initial_interval=timedelta(seconds=0.3), maximum_interval=timedelta(seconds=1)
    )

runpy.run_module("octy_worker", run_name="__main__", alter_sys=True)
