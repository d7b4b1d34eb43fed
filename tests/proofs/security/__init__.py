"""What an attacker could measure. Here: measurements over sockets, and what their figures must not show."""
