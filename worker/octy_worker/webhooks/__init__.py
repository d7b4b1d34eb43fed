"""Webhooks: signing, URL policy, sending, and their rows."""
