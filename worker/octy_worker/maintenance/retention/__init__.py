"""Retention: deletes expired rows and compacts old counters to one row a day, in short steps.

    sweeps    what has expired: limits from the settings, and sweeps over tables along their ids
    counters  sweeps over counters: deleting old ones, compacting older ones to one row a day
    run       a run under a job lease: steps of a fixed size, pauses, resuming after a crash; counting what is due

Incidents with their timelines, answers and mails, notices and regenerations are kept: they are the audit trail. Files
don't shrink: freed space is reused.
"""

from octy_worker.maintenance.retention.run import JOB, RetentionRun, RunStatus, count_due, has_due, prune_for

__all__ = ["JOB", "RetentionRun", "RunStatus", "count_due", "has_due", "prune_for"]
