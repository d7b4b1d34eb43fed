"""What an answer says, by the conformance suite's own table of texts.

Here: bytes -> the word of an outcome. Not here: the table, which is written by hand there.
"""

import json
from dataclasses import dataclass
from functools import lru_cache

from proofs.conformance.raw_http import Response
from proofs.conformance.response_text import describe
from proofs.fuzz.reference import RATE_LIMITED

INVALID = "invalid"
PASSED = "passed"
_TOO_MANY = "Too many failed attempts."


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer as it left the code."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    head: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """The word of an answer: an outcome, "invalid" for the four that look alike, "passed", or what is wrong with it."""

    word: str
    problem: bool = False


@lru_cache(maxsize=1024)
def read(answer: Answered) -> Said:
    """Return what it says. Refusals must be right to the byte, in each header too."""
    if answer.status == 200:
        return Said(PASSED)
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers]
    if answer.status == 429:
        return _read_throttled(dict(headers), answer)
    words = describe(Response(answer.status, headers, answer.body, b"", answer.head)).split(" ", 1)[1]
    return Said(words.removesuffix(" as problem"), words.endswith(" as problem"))


def _read_throttled(headers: dict[str, str], answer: Answered) -> Said:
    wait = int(headers.pop("retry-after"))
    problem = headers.pop("content-type") == "application/problem+json"
    fits = headers == {"cache-control": "no-store", "content-length": str(len(answer.body))} and 1 <= wait <= 60
    says = json.loads(answer.body)["error"]["errors"][0]["error_message"]
    return Said(RATE_LIMITED if fits and says == _TOO_MANY else f"rate_limited with other headers: {headers}", problem)
