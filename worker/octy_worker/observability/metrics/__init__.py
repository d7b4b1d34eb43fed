"""Metrics for Prometheus, served on a listener of their own.

    counts      counters of this process: deliveries of the relay, sends of mails
    figures     SQL: what stands in the store, read when Prometheus asks
    collector   figures -> metrics, each read no oftener than it may cost
    listener    the listener, and the Temporal SDK's own beside it

Counters end in `_total` and begin with the process, as Prometheus expects; what is read from the store is a gauge,
because rows come and go (retention, restored backups). Labels are states, kinds and outcomes: names of this code,
never keys, addresses or ids. Host apps have `octy_middleware.metrics`.
"""
