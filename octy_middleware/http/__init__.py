"""Requests and responses: reading credentials and addresses, outcomes, error responses. No database."""
