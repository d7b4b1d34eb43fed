"""Proofs of whole properties, each `python -m proofs.<name>`: exactness, kills, faults, conformance, timing, speed."""
