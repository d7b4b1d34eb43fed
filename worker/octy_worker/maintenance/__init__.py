"""Periodic jobs: retention, reconciliation and the daily digest."""
