"""The client of the staff API: log-in, session file, and the desk of `octy --server URL`."""
