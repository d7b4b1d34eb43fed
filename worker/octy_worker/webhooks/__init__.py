"""Webhooks on their way: what is sent, where it may go, and the rows that remember it.

    signing      PURE  secrets of accounts, bodies and signatures (Standard Webhooks)
    destinations PURE  URLs and network addresses: which of them are refused
    faults       PURE  every end that a try can have, in a code and in words
    network            connections to addresses that were checked, with an end to each wait
    courier            one POST, and what became of it
    journal            the rows: tries, ends, lists, and orders of staff

What is told, and to whom, is put down by `octy_middleware.domain.webhook_events`; when it is tried is for `octy_workflows.webhook`.
"""
