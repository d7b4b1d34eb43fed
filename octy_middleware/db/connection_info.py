"""Names in the `info` of PostgreSQL connections, which several modules read."""

POOLED = "octy_pooled"
"""Whether a pooler may lead each transaction to another session."""
PREPARED = "octy_prepared"
"""Names of the session's prepared statements, by their text."""
