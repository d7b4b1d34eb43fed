"""Waiting for file descriptors, whatever their numbers: `select.select` takes none from 1024 on."""

import select


def is_readable(descriptor: int, timeout: float) -> bool:
    """Return whether it can be read, or has ended, within so many seconds."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(timeout * 1000))
