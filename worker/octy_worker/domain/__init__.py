"""Incidents, regenerations, notices and staff requests in the database."""
