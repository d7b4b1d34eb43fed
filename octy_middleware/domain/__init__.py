"""Accounts, key pairs, notices and the outbox in the database, for middleware and worker."""
