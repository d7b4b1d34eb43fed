"""TLS of the connections that a worker opens to servers of others."""

import ssl

from octy_middleware.errors import ConfigurationError


def client_context(ca_file: str = "", *, setting: str = "") -> ssl.SSLContext:
    """Return a context that verifies certificates and host names: by the system's CAs, and by those of a file.

    TLS 1.2 or newer: otherwise the system's OpenSSL decides, and Debian's may take older ones. Raises
    ConfigurationError, which names the `setting` that the file came from.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as error:  # ssl.SSLError is an OSError
            reason = error.strerror or type(error).__name__
            raise ConfigurationError(f"{setting} can't be used: {ca_file!r}: {reason}") from None
    return context
