"""TLS contexts that do not read all certificate authorities of the system: 30 ms of CPU for each context.

OpenSSL finds an authority in the system's folder, by its hash, when a certificate needs it. It reads the file of all of
them beforehand, unless SSL_CERT_FILE names another.
"""

import os
import ssl
from pathlib import Path


def look_authorities_up(folder: Path | None = None) -> bool:
    """Have this process, and those that it starts, look authorities up in the folder; return whether they do.

    As much is trusted as before: not where the folder has no links by hash, and not where somebody has named a file
    that is not the system's own, in that folder.
    """
    folder = folder or Path(ssl.get_default_verify_paths().openssl_capath)
    links = sorted(folder.glob("[0-9a-f]*.0"))
    named = os.environ.get("SSL_CERT_FILE")
    if not links or (named is not None and Path(named).resolve().parent != folder.resolve()):
        return False
    os.environ["SSL_CERT_FILE"] = str(links[0])
    return True
