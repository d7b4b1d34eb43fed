"""The host's process: forks, signals, exit, threads and event loops."""
