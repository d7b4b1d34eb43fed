"""Whether a host name or address is this machine, without resolving it."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine by its name or address alone; no name is resolved."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        name = host.lower().rstrip(".")
        return name == "localhost" or name.endswith(".localhost")
