"""Logs, metrics and traces of the worker."""
