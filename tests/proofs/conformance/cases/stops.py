"""The case of a server's end: it is played last, and then the server is asked to stop.

The accepted outcome is not written yet at that moment, for it waits a second for others (`batch_delay`).
"""

from collections.abc import Iterator

from proofs.conformance.accounts import KeyPairs
from proofs.conformance.cases import Case, case, http
from proofs.conformance.response_text import WHO

STOP = "stop"


def cases(key_pairs: KeyPairs) -> Iterator[Case]:
    """Return it."""
    yield case(STOP, "a right pair just before", http(key_pairs.basic), WHO, "accepted")
