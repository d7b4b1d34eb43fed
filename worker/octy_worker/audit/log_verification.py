"""PURE. Verifies the whole audit log: the chain of its entries, against the checkpoints of database and system logs."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from octy_worker.audit.chain import ChainError, Entry, verify_chain
from octy_worker.audit.checkpoints import InvalidCheckpointError, SignedCheckpoint, read_checkpoints

PROGRESS_STEP = 2000  # entries


@dataclass(frozen=True, slots=True)
class LogReport:
    """What was verified. `problem` is empty for an unbroken log; `problem_seq`: the first entry that is wrong.

    `proven_up_to`: the last entry that a signed checkpoint covers, of the time `proven_at` (Unix seconds). `erased`:
    entries whose detail was erased, 0 with a problem. With a problem, `entries` are those before it.
    """

    entries: int
    erased: int
    proven_up_to: int
    proven_at: int | None
    checkpoints: int
    problem: str = ""
    problem_seq: int | None = None


def verify_log(
    entries: Iterable[Entry],
    checkpoint_lines: Iterable[str],
    keys: Mapping[str, str],
    *,
    installation: str,
    has_details: bool = True,
    on_progress: Callable[[int], None] = lambda _entries: None,
) -> LogReport:
    """Recompute everything. `checkpoint_lines`: of the database and of system logs, in any order.

    `keys`: public keys as `public_keys` returns them. `has_details`: the entries have all details that were not erased;
    then one that is missing without an entry of its erasure is a problem. `on_progress` gets the number of entries
    verified until now.
    """
    try:
        checkpoints = read_checkpoints(checkpoint_lines, keys, installation=installation)
    except InvalidCheckpointError as error:
        return LogReport(0, 0, 0, None, 0, str(error))
    try:
        chain = verify_chain(_counted(entries, on_progress), [checkpoint.point for checkpoint in checkpoints])
    except ChainError as error:
        before = [checkpoint for checkpoint in checkpoints if checkpoint.seq < error.seq]
        return LogReport(error.seq - 1, 0, *_last(before), len(checkpoints), str(error), error.seq)
    missing = chain.erased - chain.erasures if has_details else 0
    problem = f"details of {missing} entries were erased, and no entry of an erasure says so" if missing > 0 else ""
    return LogReport(chain.entries, chain.erased, *_last(checkpoints), len(checkpoints), problem)


def _counted(entries: Iterable[Entry], on_progress: Callable[[int], None]) -> Iterator[Entry]:
    for number, entry in enumerate(entries, start=1):
        yield entry
        if number % PROGRESS_STEP == 0:
            on_progress(number)


def _last(checkpoints: list[SignedCheckpoint]) -> tuple[int, int | None]:
    return (checkpoints[-1].seq, checkpoints[-1].at) if checkpoints else (0, None)
