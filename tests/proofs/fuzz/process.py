"""One process's share of a run: an installation of its own, its chunks, its books.

Here: putting the parts together. Not here: how many processes (`__main__`).
"""

import logging
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from proofs.fuzz import sockets
from proofs.fuzz.campaign import Campaign
from proofs.fuzz.inputs import CHUNK
from proofs.fuzz.installation import authenticators, install
from proofs.fuzz.pairs import Pairs, make_pairs
from proofs.fuzz.report import Finding, Report

_EVERY = 30.0  # seconds between two words on how far it is
# Of a thousand inputs these go over a socket; more in a short run, so that each server is reached by all kinds.
_OFTEN, _SELDOM = tuple(range(6, 1000, 50)), (506, 756)


@dataclass(frozen=True)
class Share:
    """Which inputs: of `headers` in all, the chunks that are this process's. `only`: some numbers, nothing else."""

    seed: int
    headers: int
    index: int = 0
    processes: int = 1
    only: tuple[int, ...] = ()
    servers: tuple[str, ...] = sockets.LANES

    @property
    def chunks(self) -> Iterable[int]:
        if self.only:
            return sorted({number // CHUNK for number in self.only})
        return range(self.index, -(-self.headers // CHUNK), self.processes)


_TOLD = "set OCTY_TRUSTED_PROXIES to it"  # of peers that forward and that nobody told us to trust: many here


class Watch(logging.Handler):
    """Keeps what is logged: in a run that goes well only that, and it never is a secret."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def run(share: Share) -> Report:
    """Play a share, and return what was seen."""
    pairs = make_pairs(share.seed)
    turns = _OFTEN if share.headers <= 100 * CHUNK else _SELDOM
    with tempfile.TemporaryDirectory() as name, _watching() as watch:
        folder = Path(name)
        world = install(folder, pairs)
        with authenticators(world) as opened:
            with sockets.serve(world, folder, share.servers, turns) as served:
                campaign = Campaign(share.seed, pairs, opened, served)
                _play(campaign, share)
                campaign.close()
            health = [authenticator.health() for authenticator, _ in opened]
            heard = sum(listener.heard for _, listener in opened)
        report = campaign.report
        faults = [*campaign.books.faults(world), *(f"logged: {line}" for line in watch.lines if _TOLD not in line)]
        faults += [] if heard or share.only else ["nobody listened to the recorders"]
        faults += [f"the recorder gave something up: {some}" for some in health if some.lost or some.last_error]
        faults += _shown(pairs, [*watch.lines, *(path.read_text(errors="replace") for path in folder.rglob("*.log"))])
        report.findings += [Finding(share.seed, -1, "", fault) for fault in faults]
        world.database.close()
    return report


def _play(campaign: Campaign, share: Share) -> None:
    told = time.monotonic()
    for chunk in share.chunks:
        campaign.play(chunk, share.only)
        if share.index == 0 and time.monotonic() - told > _EVERY:
            told = time.monotonic()
            played = campaign.report.played * share.processes
            print(f"octy: about {played:,} of {share.headers:,}", file=sys.stderr, flush=True)  # noqa: T201


@contextmanager
def _watching() -> Iterator[Watch]:
    watch = Watch()
    logging.getLogger().addHandler(watch)
    try:
        yield watch
    finally:
        logging.getLogger().removeHandler(watch)


def _shown(pairs: Pairs, texts: Iterable[str]) -> list[str]:
    secrets = [*pairs.secrets.values(), *(secret for _, secret in pairs.sent)]
    return [f"a log shows a secret: {text[:200]!r}" for text in texts if any(secret in text for secret in secrets)]
