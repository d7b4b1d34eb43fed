"""The steps of the demo: what customers, clients of the API and support staff do, each by the real interface."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import httpx2
from rich.console import Console
from rich.progress import track

from octy_middleware.keys.secret import make_key_pair
from octy_worker.dev import demo_results as results
from octy_worker.dev.customer import Customer, Keys
from octy_worker.dev.demo_input import Row
from octy_worker.dev.demo_oracle import AnsweredIncident, Figures
from octy_worker.dev.demo_results import OpenedIncident
from octy_worker.dev.http_client import http_client
from octy_worker.dev.inbox import ReceivedMail
from octy_worker.dev.stack import Stack
from octy_worker.staff.registration import register

_ROUTE = "/v1/account/authenticate"
_REASON = "The customer called and does not recognise these attempts."
_TIMEOUT = 60.0  # seconds to wait for a mail or a change of an incident; usually about one
_COUNT_TIMEOUT = 10.0  # seconds until the last counts are committed
_REVOCATION = 1.0  # seconds until a revoked key pair is refused everywhere
_POLL = 0.05
_Item = TypeVar("_Item")
_RESOLUTIONS = ("regenerated", "false_alarm", None)  # the third stays open while its old key pair works


def run_steps(stack: Stack, rows: Sequence[Row], console: Console) -> tuple[Figures, list[str]]:
    """Run all steps. Return the figures from the database, and further differences to the policy."""
    with (
        Customer(stack.tls_context()) as customer,
        http_client(stack.tls_context(), base_url=stack.api) as client,
    ):
        return _Demo(stack, console, customer, client).run(rows)


class _Demo:
    def __init__(self, stack: Stack, console: Console, customer: Customer, client: httpx2.Client) -> None:
        self._stack = stack
        self._console = console
        self._customer = customer
        self._client = client
        self._database = stack.database
        self._addresses: dict[str, str] = {}  # by user
        self._pairs: dict[str, Keys] = {}  # by user, the first ones
        self._collected: set[str] = set()  # regenerations whose keys were collected

    def run(self, rows: Sequence[Row]) -> tuple[Figures, list[str]]:
        self._open_accounts(list(dict.fromkeys(row.user for row in rows)))
        answers = self._replay(rows)
        recorded = self._recorded(rows)
        opened = results.opened_incidents(self._database)
        alerts = {
            incident.incident_id: self._alert_of(incident) for incident in self._shown(opened, "Waiting for the alerts")
        }
        cases = self._settle(opened, alerts)
        figures = Figures(
            rows=answers.total(),
            answers={str(status): count for status, count in sorted(answers.items())},
            recorded=recorded,
            alerts=tuple(incident.alert for incident in opened),
            mails=results.count_mails(self._stack.mails.messages()),
            cases=tuple(cases),
        )
        return figures, self._differences(opened)

    # Accounts and requests

    def _open_accounts(self, users: list[str]) -> None:
        """Open an account for each user, and collect its first key pair from the mail."""
        for number, user in enumerate(users, start=1):
            self._addresses[user] = f"customer-{number}@example.com"
            contact = {"contact_email_address": self._addresses[user], "contact_name": user}
            register(self._database, user, contact, actor="demo", now=time.time())
        for user in self._shown(users, "Collecting first keys"):
            self._pairs[user] = self._collect(user)

    def _collect(self, user: str) -> Keys:
        """Return the key pair of the user's next mail with new keys."""
        mail = self._mail(
            f"the mail with new keys of {user}",
            lambda mail: (
                mail.kind == "new_keys" and mail.to == self._addresses[user] and mail.subject_id not in self._collected
            ),
        )
        self._collected.add(mail.subject_id)
        return self._customer.collect_keys(mail)

    def _replay(self, rows: Sequence[Row]) -> Counter[int]:
        """Send each row as one request, in order, on one connection; return the number of each status."""
        return Counter(self._send(row) for row in self._shown(rows, "Replaying log-in attempts"))

    def _send(self, row: Row) -> int:
        keys = self._pairs[row.user]
        secret = keys.secret if row.accepted else make_key_pair().secret.reveal()
        headers = {"X-Forwarded-For": str(row.source), "X-Request-Id": str(row.number)}
        return self._client.get(_ROUTE, auth=(keys.public_key, secret), headers=headers).status_code

    def _try(self, keys: Keys | None) -> int | None:
        """Return the status of a request with this key pair."""
        if keys is None:
            return None
        with http_client(self._stack.tls_context()) as client:
            return client.get(self._stack.api + _ROUTE, auth=(keys.public_key, keys.secret)).status_code

    def _recorded(self, rows: Sequence[Row]) -> dict[str, int]:
        """Return the counts of the database as soon as they include every request."""
        _wait_until(lambda: sum(results.recorded(self._database).values()) >= len(rows), _COUNT_TIMEOUT)
        return results.recorded(self._database)

    # Incidents

    def _settle(self, opened: Sequence[OpenedIncident], alerts: dict[str, ReceivedMail]) -> list[AnsweredIncident]:
        """Let two customers answer and staff decide, collect the new keys, and try old and new key pairs."""
        acts: tuple[Callable[[OpenedIncident], None], ...] = (
            lambda incident: self._customer.answer_alert(alerts[incident.incident_id], "not_us", leaked=True),
            lambda incident: self._customer.answer_alert(alerts[incident.incident_id], "it_was_us"),
            self._decide_as_staff,
        )
        settled = list(zip(opened, acts, strict=False))
        for incident, act in self._shown(settled, "Answering alerts"):
            act(incident)
        answered_at = time.monotonic()
        new_pairs = [self._collect_new(incident) for incident, _ in self._shown(settled, "Collecting new keys")]
        for (incident, _), resolution in zip(settled, _RESOLUTIONS, strict=False):
            if resolution is not None:
                self._until_closed(incident)
        time.sleep(max(0.0, answered_at + _REVOCATION - time.monotonic()))
        return [
            AnsweredIncident(
                incident.alert.user,
                *results.answer_of(self._database, incident.incident_id),
                old_pair=self._try(self._pairs[incident.alert.user]),
                new_pair=self._try(new),
            )
            for (incident, _), new in zip(settled, new_pairs, strict=True)
        ]

    def _decide_as_staff(self, incident: OpenedIncident) -> None:
        """Decide by a signed order through the staff API, with the `octy` command."""
        staff, server = self._stack.staff, self._stack.staff_api
        staff.log_in(server)
        staff.order(server, "incidents", "decide", incident.incident_id, "regenerate", "--reason", _REASON)

    def _collect_new(self, incident: OpenedIncident) -> Keys | None:
        """Return the new key pair from its mail, None for an incident without one."""
        answer, _ = results.answer_of(self._database, incident.incident_id)
        return None if answer == "it_was_us" else self._collect(incident.alert.user)

    def _until_closed(self, incident: OpenedIncident) -> None:
        _wait_until(lambda: results.resolution_of(self._database, incident.incident_id) is not None, _TIMEOUT)

    def _differences(self, opened: Sequence[OpenedIncident]) -> list[str]:
        """Return incidents whose resolution differs from the policy."""
        ends = [(one.alert.user, results.resolution_of(self._database, one.incident_id)) for one in opened]
        expected = [*_RESOLUTIONS, *([None] * len(opened))]
        return [
            f"incident of {user}: expected {resolution or 'open'}, found {found or 'open'}"
            for (user, found), resolution in zip(ends, expected, strict=False)
            if found != resolution
        ]

    # Mails and progress

    def _alert_of(self, incident: OpenedIncident) -> ReceivedMail:
        what = f"the alert of {incident.alert.user}"
        return self._mail(what, lambda mail: mail.kind == "alert" and mail.subject_id == incident.incident_id)

    def _mail(self, what: str, matches: Callable[[ReceivedMail], bool]) -> ReceivedMail:
        return self._stack.wait_for_mail(what, matches, _TIMEOUT)

    def _shown(self, items: Sequence[_Item], what: str) -> Iterable[_Item]:
        """Yield the items with a progress bar."""
        return track(items, f"{what:<28}", console=self._console) if items else ()


def _wait_until(holds: Callable[[], bool], timeout: float) -> None:
    """Return when `holds` is true, or after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not holds() and time.monotonic() < deadline:
        time.sleep(_POLL)
