"""What an attacker could measure over sockets."""
