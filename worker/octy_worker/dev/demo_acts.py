"""What people do in a demo: customers, the clients of the API, and support staff.

Here: the acts, each through the same adapter as in real life, and the order in which they come. Not here: the policy
(`demo_oracle`); what came of the acts is read back (`demo_readback`).
"""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import httpx2
from rich.console import Console
from rich.progress import track

from octy_middleware.keys.secret import make_key_pair
from octy_worker.dev import demo_readback as readback
from octy_worker.dev.customer import Customer, Keys
from octy_worker.dev.demo_input import Row
from octy_worker.dev.demo_oracle import Case, Figures
from octy_worker.dev.demo_readback import Opened
from octy_worker.dev.http_client import http_client
from octy_worker.dev.inbox import ReceivedMail
from octy_worker.dev.processes import ProcessError
from octy_worker.dev.stack import Stack
from octy_worker.staff.registration import register

_ROUTE = "/v1/account/authenticate"
_STAFF = "demo.staff"
_REASON = "The customer called and does not know these attempts."
_TIMEOUT = 60.0  # seconds for a mail to come or a case to move; it takes about one
_COUNT_TIMEOUT = 10.0  # seconds for the last counts to be committed
_REVOCATION = 1.0  # seconds within which a revoked pair stops everywhere
_POLL = 0.05
_Item = TypeVar("_Item")
_RESOLUTIONS = ("regenerated", "false_alarm", None)  # the third stays open while its old pair lives on


def perform(stack: Stack, rows: Sequence[Row], console: Console) -> tuple[Figures, list[str]]:
    """Do everything; return the figures as read back, and what else was not as it should be."""
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
        opened = readback.opened_cases(self._database)
        alerts = {case.incident_id: self._alert_of(case) for case in self._shown(opened, "Waiting for the alerts")}
        cases = self._settle(opened, alerts)
        figures = Figures(
            rows=answers.total(),
            answers={str(status): count for status, count in sorted(answers.items())},
            recorded=recorded,
            alerts=tuple(case.alert for case in opened),
            mails=readback.count_mails(self._stack.mails.messages()),
            cases=tuple(cases),
        )
        return figures, self._faults(opened)

    # Accounts and requests

    def _open_accounts(self, users: list[str]) -> None:
        """Open an account a user, and collect each first pair from its mail."""
        for number, user in enumerate(users, start=1):
            self._addresses[user] = f"customer-{number}@example.com"
            contact = {"contact_email_address": self._addresses[user], "contact_name": user}
            register(self._database, user, contact, actor="demo", now=time.time())
        for user in self._shown(users, "Collecting first keys"):
            self._pairs[user] = self._collect(user)

    def _collect(self, user: str) -> Keys:
        """Return the pair of the user's next mail with new keys."""
        mail = self._mail(
            f"the mail with new keys of {user}",
            lambda mail: (
                mail.kind == "new_keys" and mail.to == self._addresses[user] and mail.subject_id not in self._collected
            ),
        )
        self._collected.add(mail.subject_id)
        return self._customer.collect_keys(mail)

    def _replay(self, rows: Sequence[Row]) -> Counter[int]:
        """Send each row as one request, in order, on one connection; return how often each status came."""
        return Counter(self._send(row) for row in self._shown(rows, "Replaying log-in attempts"))

    def _send(self, row: Row) -> int:
        keys = self._pairs[row.user]
        secret = keys.secret if row.accepted else make_key_pair().secret.reveal()
        headers = {"X-Forwarded-For": str(row.source), "X-Request-Id": str(row.number)}
        return self._client.get(_ROUTE, auth=(keys.public_key, secret), headers=headers).status_code

    def _try(self, keys: Keys | None) -> int | None:
        """Return the status that a request with this pair gets."""
        if keys is None:
            return None
        with http_client(self._stack.tls_context()) as client:
            return client.get(self._stack.api + _ROUTE, auth=(keys.public_key, keys.secret)).status_code

    def _recorded(self, rows: Sequence[Row]) -> dict[str, int]:
        """Return what the database counts, as soon as it counts every request."""
        _wait(lambda: sum(readback.recorded(self._database).values()) >= len(rows), _COUNT_TIMEOUT)
        return readback.recorded(self._database)

    # Cases

    def _settle(self, opened: Sequence[Opened], alerts: dict[str, ReceivedMail]) -> list[Case]:
        """Let two customers answer and staff decide; then collect what is new, and try old and new pairs."""
        acts: tuple[Callable[[Opened], None], ...] = (
            lambda case: self._customer.answer_alert(alerts[case.incident_id], "not_us", leaked=True),
            lambda case: self._customer.answer_alert(alerts[case.incident_id], "it_was_us"),
            self._decide_as_staff,
        )
        settled = list(zip(opened, acts, strict=False))
        for case, act in self._shown(settled, "Answering cases"):
            act(case)
        answered_at = time.monotonic()
        new_pairs = [self._collect_new(case) for case, _ in self._shown(settled, "Collecting new keys")]
        for (case, _), resolution in zip(settled, _RESOLUTIONS, strict=False):
            if resolution is not None:
                self._until_closed(case)
        time.sleep(max(0.0, answered_at + _REVOCATION - time.monotonic()))
        return [
            Case(
                case.alert.user,
                *readback.answer_of(self._database, case.incident_id),
                old_pair=self._try(self._pairs[case.alert.user]),
                new_pair=self._try(new),
            )
            for (case, _), new in zip(settled, new_pairs, strict=True)
        ]

    def _decide_as_staff(self, case: Opened) -> None:
        """Decide with the real command."""
        command = [sys.executable, "-m", "octy_worker", "incidents", "decide", case.incident_id, "regenerate"]
        done = subprocess.run(  # noqa: S603 - a fixed argument list, no shell
            [*command, "--actor", _STAFF, "--reason", _REASON],
            env=self._stack.command_environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT,
        )
        if done.returncode != 0:
            raise ProcessError(f"octy incidents decide ended with {done.returncode}: {done.stdout}{done.stderr}")

    def _collect_new(self, case: Opened) -> Keys | None:
        """Return the new pair from its mail, None for a case whose answer asks for none."""
        answer, _ = readback.answer_of(self._database, case.incident_id)
        return None if answer == "it_was_us" else self._collect(case.alert.user)

    def _until_closed(self, case: Opened) -> None:
        _wait(lambda: readback.resolution_of(self._database, case.incident_id) is not None, _TIMEOUT)

    def _faults(self, opened: Sequence[Opened]) -> list[str]:
        """Return which cases did not end, or ended, against the policy."""
        expected = [*_RESOLUTIONS, *([None] * len(opened))][: len(opened)]
        faults = []
        for case, resolution in zip(opened, expected, strict=True):
            found = readback.resolution_of(self._database, case.incident_id)
            if found != resolution:
                faults.append(
                    f"the case of {case.alert.user}: expected {resolution or 'open'}, found {found or 'open'}"
                )
        return faults

    # Mails and progress

    def _alert_of(self, case: Opened) -> ReceivedMail:
        what = f"the alert of {case.alert.user}"
        return self._mail(what, lambda mail: mail.kind == "alert" and mail.subject_id == case.incident_id)

    def _mail(self, what: str, fits: Callable[[ReceivedMail], bool]) -> ReceivedMail:
        return self._stack.wait_for_mail(what, fits, _TIMEOUT)

    def _shown(self, items: Sequence[_Item], what: str) -> Iterable[_Item]:
        """Yield the items under a progress bar."""
        return track(items, f"{what:<28}", console=self._console) if items else ()


def _wait(holds: Callable[[], bool], timeout: float) -> None:
    """Return when it holds, or after `timeout` seconds: what is then read back tells the rest."""
    deadline = time.monotonic() + timeout
    while not holds() and time.monotonic() < deadline:
        time.sleep(_POLL)
