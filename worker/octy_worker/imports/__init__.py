"""Customers of another system, imported with the keys that they have."""
