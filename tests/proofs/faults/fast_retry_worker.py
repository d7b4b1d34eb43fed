"""The product's worker with short retry policies, for the short run of the test suite.

`make faults` runs the product's own, which retry the work of a killed worker after up to a minute.
"""

import runpy
from datetime import timedelta

from temporalio.common import RetryPolicy

from octy_workflows.retry import DEFAULT_RETRY, MAIL_RETRY

for options, seconds in ((DEFAULT_RETRY, 3), (MAIL_RETRY, 5)):
    options["start_to_close_timeout"] = timedelta(seconds=seconds)
    options["retry_policy"] = RetryPolicy(
        initial_interval=timedelta(seconds=0.3), maximum_interval=timedelta(seconds=1)
    )

runpy.run_module("octy_worker", run_name="__main__", alter_sys=True)
