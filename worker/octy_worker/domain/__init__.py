"""Incidents, regenerations, notices and orders of staff in the database."""
