"""A seed and a number -> an input, and what must come of it.

Inputs are made in chunks, each with random numbers of its own, so that any one of them can be made again without all
those before it, and so that their number is the same with any number of processes. Here: making them and asking the
reference. Not here: playing them (`campaign`).
"""

from collections.abc import Iterator
from random import Random

from proofs.fuzz.headers import Headers
from proofs.fuzz.installation import SITES
from proofs.fuzz.lanes import Input
from proofs.fuzz.mutations import pick
from proofs.fuzz.origin import Origin, trace
from proofs.fuzz.pairs import Pairs
from proofs.fuzz.reference import INVALID, MISSING, OPEN, PLAIN, RATE_LIMITED, Expected, Site, is_exempt, judge, read
from proofs.fuzz.surroundings import Weather

CHUNK = 1000
_WEATHERS = 250  # surroundings a chunk: a header costs less to make than they do


def inputs(seed: int, chunk: int, pairs: Pairs) -> Iterator[Input]:
    """Make the inputs of one chunk."""
    rng = Random(f"{seed}/{chunk}")
    headers, weather = Headers(rng, pairs), Weather(rng)
    around = [weather.next() for _ in range(_WEATHERS)]
    for number in range(chunk * CHUNK, (chunk + 1) * CHUNK):
        yield Input(number, headers.values(), pick(rng, around))


def expect(given: Input, pairs: Pairs) -> Expected:
    """Return what must come of an input, by the documents."""
    around, site, origin = given.around, SITES[given.around.site], origin_of(given)
    found = read(given.values, schemeless=site.schemeless, limit=site.limit)
    pair = None if isinstance(found, frozenset) else found
    if is_exempt(around.method, around.path):
        return Expected(frozenset({OPEN}))
    safe = _over_https(found, site, pairs)
    plain = frozenset({PLAIN})
    by_scheme = {"https": safe, "http": plain, "unknown": plain, None: safe | plain}
    return Expected(by_scheme[origin.scheme], pair)


def origin_of(given: Input) -> Origin:
    """Return where an input must be said to come from; remembered, as many inputs share their surroundings."""
    around, site = given.around, SITES[given.around.site]
    if around.origin is None:
        forwarded, hops, protos = (
            b",".join(given.header(name)) for name in (b"forwarded", b"x-forwarded-for", b"x-forwarded-proto")
        )
        said = (forwarded, b"", b"") if site.forwarded else (None, hops, protos)
        around.origin = trace(site.trusted, around.peer, around.scheme, said)
    return around.origin


def _over_https(found: tuple[str, str] | frozenset[str], site: Site, pairs: Pairs) -> frozenset[str]:
    if isinstance(found, frozenset):
        return frozenset({OPEN}) if site.optional and found == {MISSING} else found
    outcome = judge(found, pairs.secrets, pairs.retired[0])
    return frozenset({outcome, RATE_LIMITED}) if site.rate_limited and outcome in INVALID else frozenset({outcome})
