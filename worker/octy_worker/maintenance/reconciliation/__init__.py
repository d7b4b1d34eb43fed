"""Reconciliation: what SQL says is open is running in Temporal, and what runs there is open in SQL. SQL is right.

    past      what a workflow that is started again must know of its first life
    subjects  SQL: pages of what is open, and the messages that say again how each stands
    running   Temporal: whether a workflow runs, which ones run, ending one
    run       one run: both ways round, page by page, under a lease; its findings

Needed when Temporal lost its state (a deleted file, a restored backup), when somebody ended a workflow by hand, when
SQL was restored, and when a message was set aside. Everything is told through the outbox, by the same ids; mails find
their rows, so nothing is sent a second time.
"""
