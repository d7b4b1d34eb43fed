"""Forks, signals, exit, threads and event loops of the host process."""
