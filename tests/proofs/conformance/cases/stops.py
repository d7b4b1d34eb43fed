"""The case of a server's end: it is played last, and then the server is asked to stop.

The accepted outcome is not written yet at that moment, for it waits a second for others (`batch_delay`).
"""

from collections.abc import Iterator

from proofs.conformance.answers import WHO
from proofs.conformance.cases import Case, case, http
from proofs.conformance.pairs import Pairs

STOP = "stop"


def cases(pairs: Pairs) -> Iterator[Case]:
    """Return it."""
    yield case(STOP, "a right pair just before", http(pairs.basic), WHO, "accepted")
