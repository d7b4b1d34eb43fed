"""Retention: what is past its time goes, and old counters shrink to one row a day, in steps too short to be noticed.

    limits    PURE  settings and a time -> what is past its time
    parts     what a sweep is: a table, walked part by part along its primary key
    tables    attempts, delivered messages, webhooks, entries of the change feed, secrets that nobody collected
    counters  counters past their time, and the compaction of older ones
    pace      how long a step may take, and how long the pause after it is
    due       what a run would do, counted
    run       one run: lease, steps, pauses, and going on after a crash
    piece     a minute of a run, as the daily schedule asks for it

Cases, their timelines, answers and mails, notices and regenerations stay: they are the books. Files don't shrink: what
is freed is used again.
"""

from octy_worker.maintenance.retention.due import count_due, has_due
from octy_worker.maintenance.retention.run import JOB, Ended, Run

__all__ = ["JOB", "Ended", "Run", "count_due", "has_due"]
