"""Proofs under load and outage: each `python -m proofs.load.<name>` prints its figures and ends with 0 or 1.

They use real servers, real sockets and a real database; small runs of them are tests.
"""
