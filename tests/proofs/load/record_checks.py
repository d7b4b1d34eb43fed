"""What the tables must hold of a key of which only failures were sent, and that a badly treated file is whole."""

import json

from sqlalchemy import text
from support.world import Keys, World

from proofs.load.report import Report

THRESHOLD = 20


def check_incident(report: Report, world: World, keys: Keys, failures: int, *, at_once: int, behind: int = 0) -> None:
    """So many failures were recorded, at most `at_once` by one commit: every other figure follows.

    `behind`: so many had waited for a database that was away, and commits wrote them with the others.
    """
    streaks = dict(world.rows("SELECT network, length FROM streak WHERE public_key = :key", key=keys.public_key))
    report.same("streaks", streaks, {"": failures, "127.0.0.0/24": failures})  # all clients are on this machine
    report.same("incidents (rule, length)", world.rows("SELECT rule, length FROM incident"), [("key", THRESHOLD)])
    kinds = dict(world.rows("SELECT kind, COUNT(*) FROM outbox WHERE kind LIKE 'incident%' GROUP BY kind"))
    report.same("opened in the outbox", kinds.get("incident_opened"), 1)
    messages = world.rows("SELECT detail FROM outbox WHERE kind = 'incident_grew' ORDER BY id")
    _check_growth(report, [int(json.loads(row[0])["failures"]) for row in messages], failures, at_once, behind)


def _check_growth(report: Report, lengths: list[int], failures: int, at_once: int, behind: int) -> None:
    """A commit has many failures and one message, of the last: each doubling once, by the commit that reached it."""
    report.figure("failures in outbox messages", lengths)
    reached = [doublings(length)[-1] for length in lengths]
    report.expect(lengths == sorted(set(lengths)), "a length is in two messages, or out of order")
    report.expect(len(set(reached)) == len(reached), "a doubling has two messages")
    wanted = [doubling for doubling in doublings(failures) if THRESHOLD + 2 * at_once < doubling <= failures]
    for doubling in set(wanted) - set(reached):  # one commit reached it and the next one
        over = min((length - doubling for length in lengths if length > doubling), default=failures)
        report.expect(over < behind, f"messages at {reached}, not at every one of {wanted}")


def doublings(length: int) -> list[int]:
    """Return 40, 80, … up to the length; at least 40, so that an early report shows."""
    return [THRESHOLD * 2**n for n in range(1, 30) if n == 1 or THRESHOLD * 2**n <= length]


def check_sqlite_file(report: Report, world: World) -> None:
    """Have SQLite look at all of its file."""
    with world.database.read() as connection:
        for check, good in (("integrity_check", [("ok",)]), ("foreign_key_check", [])):
            found = [tuple(row) for row in connection.execute(text(f"PRAGMA {check}"))]
            report.same(check, found, good)
