"""From the outbox to Temporal: leases on messages, their dispatch and dead letters."""
