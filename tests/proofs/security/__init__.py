"""What an attacker could measure over sockets, and what they would get without each check of staff.

timing, timing_statistics   does the time of a refusal show which keys exist?
checks_removed, checks      each check of staff is removed once, and a test notices
"""
