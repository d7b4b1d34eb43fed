"""Where the evidence comes from: tables, the log of commits, the sink, Temporal, files, and the clients' own books.

Here: reading, after everything has come to rest. Not here: judging.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Row, text
from temporalio.client import Client

from octy_middleware.db.models import METADATA
from octy_middleware.domain.installation import installation_id
from octy_worker.dev.inbox import ReceivedMail
from proofs.faults.api_clients import UNANSWERED, WRONG, Books, Caller
from proofs.faults.diary import Diary
from proofs.faults.evidence import Beside, Evidence, Incident, Mail, Order
from proofs.faults.fault_injector import Trouble
from proofs.faults.installation import APPS, Place
from proofs.faults.observer import Witness
from proofs.faults.second_installation import DOMAIN
from proofs.faults.secret_search import Canaries, find, find_in_files, find_in_mails
from proofs.load.commit_log import read_commit_log
from proofs.load.reference_policy import OpenedIncident, ReferencePolicy

_INCIDENTS = """SELECT i.id, i.public_key, i.rule, i.network, i.length, i.request_id, i.first_at, i.opened_at,
    i.closed_at, i.resolution, i.regeneration_id, c.answer
    FROM incident i JOIN incident_answer c ON c.incident_id = i.id"""
_ORDERS = """SELECT r.id, r.account_id, r.cause, o.public_key, n.public_key, r.state, r.finished_at FROM regeneration r
    LEFT JOIN key_pair o ON o.id = r.old_pair_id LEFT JOIN key_pair n ON n.id = r.new_pair_id"""
_RECORDED = """SELECT public_key, SUM(count) FROM outcome_minute
    WHERE outcome IN ('wrong_secret', 'retired', 'retired_wrong') AND public_key <> '' GROUP BY public_key"""
_WITHHELD = "SELECT key FROM mail WHERE kind = 'alert' AND state = 'skipped' AND last_error = 'daily-cap'"
_CAPPED = "SELECT n.id FROM notice n JOIN mail m ON m.key LIKE n.id || '/%' WHERE m.last_error = 'daily-cap'"
_PUBLIC_KEY = re.compile(r"\bpk_[0-9A-Za-z]{28}\b")
_UNSENT = "SELECT message_id, key FROM mail WHERE state NOT IN ('sent', 'skipped')"


@dataclass(frozen=True)
class Run:
    """All who took part."""

    place: Place
    witness: Witness
    books: Books
    diary: Diary
    trouble: Trouble
    listed: bytes  # command lines seen during the run
    beside: Beside


def gather(run: Run) -> Evidence:
    """Read everything once."""
    place, books, diary = run.place, run.books, run.diary
    rows = Rows(place)
    probes = dict(_probe(run))
    refused, unsure = _by_key(books, 401), _by_key(books, 503, UNANSWERED)
    return Evidence(
        kills=run.trouble.kills,
        refused=refused,
        unsure=unsure,
        recorded={key: int(count) for key, count in rows.all(_RECORDED)},
        misjudged=tuple(books.refused_right + books.accepted_wrong),
        expected=expected_cases(place),
        incidents=tuple(map(_incident, rows.all(_INCIDENTS))),
        orders=tuple(Order(*row[:6], finished=row[6] is not None) for row in rows.all(_ORDERS)),
        mails=tuple(
            Mail(mail.message_id, mail.kind, mail.subject_id, mail.received_at.timestamp(), _keys_in(mail))
            for mail in place.inbox.messages()
            if not mail.to.endswith(f"@{DOMAIN}")
        ),
        unsent={row[0]: row[1].partition("/")[0] for row in rows.all(_UNSENT)},
        undelivered=tuple(
            f"{row[0]} {row[1]}" for row in rows.all("SELECT id, kind FROM outbox WHERE delivered_at IS NULL")
        ),
        running=asyncio.run(running_workflows(place)),
        capped=frozenset(row[0] for row in rows.all(_CAPPED)),
        answered=tuple(diary.answered),
        unseen=tuple(diary.unseen),
        stopped=tuple(diary.stopped),
        states=dict(map(tuple, rows.all("SELECT public_key, state FROM key_pair"))),
        probes=probes,
        in_use=frozenset(keys.public_key for keys in diary.in_use),
        late=dict(_late(run)),
        troubled=tuple(run.trouble.killed_at),
        ended=tuple(end for name in APPS for end in place.parts[name].ends),
        leaks=tuple(_leaks(run)),
        beside=run.beside,
        withheld=tuple(row[0] for row in rows.all(_WITHHELD)),
    )


class Rows:
    """Reads by one statement after the other."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def all(self, statement: str) -> list[Row[Any]]:
        with self._place.database.read() as connection:
            return list(connection.execute(text(statement)).all())


def expected_cases(place: Place) -> Mapping[str, OpenedIncident]:
    """Return the cases that the policy demands for the outcomes in the order of their commits."""
    policy = ReferencePolicy()
    for commit in read_commit_log(place.database):
        policy.add(commit.batch)
    return policy.incidents


async def running_workflows(place: Place) -> frozenset[str]:
    """Return the ids of this installation's workflows, without what all of them begin with."""
    own = f"octy-{installation_id(place.database)}-"
    client = await Client.connect(f"127.0.0.1:{place.port_of('temporal')}")
    found = [workflow.id async for workflow in client.list_workflows("ExecutionStatus = 'Running'")]
    return frozenset("octy-" + name.removeprefix(own) for name in found if not name.startswith(place.second.prefix))


def _keys_in(mail: ReceivedMail) -> frozenset[str]:
    return frozenset(_PUBLIC_KEY.findall(mail.text))


def _incident(row: Row[Any]) -> Incident:
    return Incident(
        id=row[0],
        public_key=row[1],
        case=OpenedIncident(*row[2:8]),
        closed=row[8] is not None,
        resolution=row[9],
        regeneration_id=row[10],
        answer=row[11],
    )


def _by_key(books: Books, *statuses: int) -> dict[str, int]:
    keys = books.wrong.keys() | books.right.keys()
    return {key: sum(book[key][status] for book in (books.wrong, books.right) for status in statuses) for key in keys}


def _probe(run: Run) -> Iterator[tuple[str, int]]:
    """Ask with every pair that a customer ever had, once everything is well."""
    caller = Caller(run.place.port_of("asgi"), "192.0.2.1", run.books)
    for keys in run.diary.keys:
        yield keys.public_key, caller.right(keys, in_use=False)
    caller.close()


def _late(run: Run) -> Iterator[tuple[str, float]]:
    """Return how long after its end each pair was accepted last, but for those whose end an app could not know."""
    for key, cut in run.witness.cut.items():
        last = run.books.last_accepted.get(key, 0.0)
        if last > cut and not any(begin <= last <= end for begin, end in run.trouble.store_away):
            yield key, last - cut


def _leaks(run: Run) -> Iterator[str]:
    place, diary = run.place, run.diary
    kept = [value.rpartition(":")[2] for name, value in place.env.items() if name.endswith(("_PEPPERS", "_KEYS"))]
    secrets = [*kept, WRONG, *(keys.secret for keys in diary.keys)]
    canaries = Canaries(
        secrets=frozenset(map(str.encode, secrets)),
        tokens=frozenset(map(str.encode, diary.tokens)),
        addresses=frozenset(map(str.encode, diary.addresses)),
    )
    folder = place.folder
    yield from find_in_files(_files(folder, "logs/*", "temporal.db*"), canaries.for_logs())
    yield from find_in_mails(_files(folder, "mail/*.eml"), canaries.for_mails())
    yield from find_in_files(_files(place.store_folder, "octy.db*"), canaries.for_store())
    with place.database.read() as connection:
        for table in METADATA.sorted_tables:
            content = "\n".join(map(str, connection.execute(table.select())))
            yield from find(f"the table {table.name}", content.encode(), canaries.for_store())
    yield from find("the list of processes", run.listed, canaries.for_logs())


def _files(folder: Path, *patterns: str) -> Iterator[Path]:
    for pattern in patterns:
        yield from folder.glob(pattern)
