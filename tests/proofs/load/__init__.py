"""Proofs under load and outage: each `python -m proofs.load.<name>` prints its figures and ends with 0 or 1.

Here: measurements over real servers, real sockets and a real database, and small runs of them as tests. Not here:
what one function does (`middleware`), the whole stack with Temporal and mail (`story`), speed (`benchmarks`).
"""
