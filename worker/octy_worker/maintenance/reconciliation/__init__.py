"""Reconciliation: compares SQL with Temporal and repairs differences. SQL is the source of truth.

    subjects   SQL: pages of open subjects
    messages   SQL: messages that have a workflow started again, or repeat the current state to one that runs
    workflows  Temporal: the state of workflows, listing running ones, terminating one
    run        one run: both directions, page by page, under a job lease; its findings

It is needed when Temporal lost its state (a deleted file, a restored backup), when somebody terminated a workflow, when
SQL was restored, and after dead letters. All messages go through the outbox with the same ids, and mails find their
rows, so nothing is sent twice.
"""
