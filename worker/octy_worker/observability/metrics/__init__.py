"""Prometheus metrics of the worker, served on a port of their own.

    counters          counters of this process: deliveries of the relay, sends of mails
    queries           SQL: figures of the database, read when Prometheus scrapes
    collector         queries → gauges, cached for a fixed time
    server_connections connections of the processes that serve the pages and the staff API
    staff             log-ins, orders and the audit log, from the database
    clock_offset      offset between this host's clock and Temporal's
    metrics_server    the port that Prometheus scrapes, and the Temporal SDK's own

Counters end in `_total` and start with the process, as Prometheus expects. What is read from the database is a gauge,
because rows come and go (retention, restored backups). Labels are states, kinds and outcomes: names of this code,
never keys, addresses or ids. Host apps have `octy_middleware.metrics`.
"""
