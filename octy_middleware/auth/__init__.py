"""Decides about each request, by key records in memory or in the database."""
