"""Many connections to the pages that send half a header and then nothing, each from an address of its own.

Here: opening and closing them. Not here: when (`chaos`).
"""

import contextlib
import socket
import ssl

_HALF = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Half: "
_TIMEOUT = 1.0  # seconds for each step


class IdleConnections:
    """So many TLS connections to a port on this machine, as far as the server takes them."""

    def __init__(self, port: int, number: int) -> None:
        self._open: list[socket.socket] = []
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        refused = 0
        for index in range(number):
            if refused > 20:  # it is down or full: more tries only take time
                break
            try:
                self._open.append(_half_a_request(context, port, f"127.0.{index // 200 + 1}.{index % 200 + 1}"))
            except OSError:
                refused += 1

    def close(self) -> None:
        """Close all of them."""
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.close()
        self._open.clear()


def _half_a_request(context: ssl.SSLContext, port: int, source: str) -> socket.socket:
    plain = socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT, source_address=(source, 0))
    try:
        connection = context.wrap_socket(plain)
    except OSError:
        plain.close()
        raise
    connection.sendall(_HALF)
    return connection
