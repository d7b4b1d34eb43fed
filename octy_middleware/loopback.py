"""Which hosts are this machine by their very name: what is sent to them leaves it over no network."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine by its name or address alone; no name is resolved."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        name = host.lower().rstrip(".")
        return name == "localhost" or name.endswith(".localhost")
