"""Collects the evidence when all work is done: tables, commit log, mails, workflows, files, records of clients."""

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Row, text
from temporalio.client import Client

from octy_middleware.db.models import METADATA
from octy_middleware.domain.installation import installation_id
from octy_worker.dev import LOOPBACK
from proofs.faults.api_clients import WRONG_SECRET, ApiClient
from proofs.faults.context import NO_RESPONSE, RunContext
from proofs.faults.evidence import Evidence, Incident, Mail, Regeneration
from proofs.faults.installation import APPS, Installation
from proofs.faults.message_forger import MessageForger
from proofs.faults.second_installation import DOMAIN
from proofs.faults.secret_search import Secrets, search, search_files, search_mails
from proofs.faults.side_scenarios import SideScenario
from proofs.load.commit_log import read_commit_log
from proofs.load.reference_policy import OpenedIncident, ReferencePolicy

_INCIDENTS = """SELECT i.id, i.public_key, i.rule, i.network, i.length, i.request_id, i.first_at, i.opened_at,
    i.closed_at IS NOT NULL, i.resolution, i.regeneration_id, a.answer
    FROM incident i JOIN incident_answer a ON a.incident_id = i.id"""
_REGENERATIONS = """SELECT r.id, r.cause, p.public_key, r.state, r.finished_at IS NOT NULL
    FROM regeneration r LEFT JOIN key_pair p ON p.id = r.old_pair_id"""
_RECORDED = """SELECT public_key, SUM(count) FROM outcome_minute
    WHERE outcome IN ('wrong_secret', 'retired', 'retired_wrong') AND public_key <> '' GROUP BY public_key"""
_UNSENT = "SELECT message_id, key FROM mail WHERE state NOT IN ('sent', 'skipped')"
_UNDELIVERED = "SELECT id, kind FROM outbox WHERE delivered_at IS NULL"
_CAPPED = "SELECT n.id FROM notice n JOIN mail m ON m.key LIKE n.id || '/%' WHERE m.last_error = 'daily-cap'"
_WITHHELD = "SELECT key FROM mail WHERE kind = 'alert' AND state = 'skipped' AND last_error = 'daily-cap'"
_WORK = (
    "SELECT (SELECT COUNT(*) FROM outbox WHERE delivered_at IS NULL) + (SELECT COUNT(*) FROM incident i "
    "JOIN incident_answer a ON a.incident_id = i.id WHERE i.closed_at IS NULL AND a.answer IS NOT NULL) + "
    "(SELECT COUNT(*) FROM regeneration WHERE finished_at IS NULL)"
)
_PUBLIC_KEY = re.compile(r"\bpk_[0-9A-Za-z]{28}\b")


def collect(run: RunContext, scenarios: Sequence[SideScenario], forger: MessageForger) -> Evidence:
    installation, log = run.installation, run.log
    statuses = dict(_send_all(run))  # first, because these requests count as well

    def rows(statement: str) -> list[Row[Any]]:
        return read_rows(installation, statement)

    return Evidence(
        kills=run.faults.kills,
        by_kind=run.faults.by_kind,
        missed=run.faults.missed,
        requests=run.responses.total(),
        refused=run.responses.count(401),
        unanswered=run.responses.count(NO_RESPONSE),
        unavailable=run.responses.count(503),
        outages=len(run.faults.outages),
        recorded={key: int(count) for key, count in rows(_RECORDED)},
        unexpected=tuple(run.responses.unexpected),
        expected=_expected_incidents(installation),
        incidents=tuple(Incident(row[0], row[1], OpenedIncident(*row[2:8]), *row[8:]) for row in rows(_INCIDENTS)),
        regenerations=tuple(Regeneration(*row) for row in rows(_REGENERATIONS)),
        mails=tuple(
            Mail(
                *(mail.message_id, mail.kind, mail.subject_id, mail.received_at.timestamp()),
                frozenset(_PUBLIC_KEY.findall(mail.text)),
            )
            for mail in installation.inbox.messages()
            if not mail.to.endswith(f"@{DOMAIN}")
        ),
        unsent={message_id: key.partition("/")[0] for message_id, key in rows(_UNSENT)},
        undelivered=tuple(f"{message} {kind}" for message, kind in rows(_UNDELIVERED)),
        running=asyncio.run(_running_workflows(installation)),
        capped=frozenset(notice for (notice,) in rows(_CAPPED)),
        answers=tuple(log.answers),
        unseen=tuple(log.unseen),
        failures=tuple(log.failures),
        states=dict(map(tuple, rows("SELECT public_key, state FROM key_pair"))),
        statuses=statuses,
        in_use=frozenset(keys.public_key for keys in log.in_use),
        late=dict(_late_acceptances(run)),
        faults=tuple(run.faults.times),
        exits=tuple(line for name in APPS for line in installation.parts[name].exits),
        worker_exits=tuple(installation.parts["worker"].exits),
        leaks=tuple(_leaks(run)),
        withheld=tuple(key for (key,) in rows(_WITHHELD)),
        forgeries=dict(forger.sent),
        accepted_forgeries=tuple(forger.accepted),
        side_actions={scenario.name: scenario.actions for scenario in scenarios},
        side_findings=tuple(finding for scenario in scenarios for finding in scenario.findings),
    )


def is_work_left(installation: Installation) -> bool:
    """Return whether the tables show work in progress that does not wait for a customer."""
    return bool(read_rows(installation, _WORK)[0][0])


def read_rows(installation: Installation, statement: str) -> list[Row[Any]]:
    with installation.database.read() as connection:
        return list(connection.execute(text(statement)).all())


def _expected_incidents(installation: Installation) -> Mapping[str, OpenedIncident]:
    """Return the incidents that the policy demands for the outcomes in the order of their commits."""
    policy = ReferencePolicy()
    for commit in read_commit_log(installation.database):
        policy.add(commit.batch)
    return policy.incidents


async def _running_workflows(installation: Installation) -> frozenset[str]:
    """Return the ids of this installation's workflows, without its own id in them."""
    own, other = f"octy-{installation_id(installation.database)}-", installation.second.workflow_prefix
    client = await Client.connect(f"{LOOPBACK}:{installation.port_of('temporal')}")
    found = [workflow.id async for workflow in client.list_workflows("ExecutionStatus = 'Running'")]
    return frozenset("octy-" + name.removeprefix(own) for name in found if not name.startswith(other))


def _send_all(run: RunContext) -> Iterator[tuple[str, int]]:
    """Send a request with every key pair that a customer ever had."""
    client = ApiClient(run.installation.port_of("asgi"), "192.0.2.1", run.responses)
    for keys in run.log.keys:
        yield keys.public_key, client.send_right(keys, in_use=False)
    client.close()


def _late_acceptances(run: RunContext) -> Iterator[tuple[str, float]]:
    """Return how long after its retirement each key pair was accepted, unless an app could not know of it."""
    for key, retired in run.observer.retired.items():
        last = run.responses.last_accepted.get(key, 0.0)
        if last > retired and not any(begin <= last <= end for begin, end in run.faults.outages):
            yield key, last - retired


def _leaks(run: RunContext) -> Iterator[str]:
    installation, log = run.installation, run.log
    keychains = [value for name, value in installation.env.items() if name.endswith(("_PEPPERS", "_KEYS"))]
    keys = [*(value.rpartition(":")[2] for value in keychains), WRONG_SECRET, *(keys.secret for keys in log.keys)]
    secrets, folder = Secrets(keys, log.tokens, log.addresses), installation.folder
    yield from search_files([*folder.glob("logs/*"), *folder.glob("temporal.db*")], secrets.in_logs)
    yield from search_mails(folder.glob("mail/*.eml"), secrets.in_mails)
    yield from search_files(installation.database_folder.glob("octy.db*"), secrets.in_database)
    with installation.database.read() as connection:
        for table in METADATA.sorted_tables:
            content = "\n".join(map(str, connection.execute(table.select())))
            yield from search(f"the table {table.name}", content.encode(), secrets.in_database)
    yield from search("the list of processes", b"\n".join(run.command_lines), secrets.in_logs)
