"""Metrics, traces and probes of the worker."""
