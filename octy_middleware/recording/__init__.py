"""Writes the outcome of every request: counters, streaks and incidents, many in one transaction."""
